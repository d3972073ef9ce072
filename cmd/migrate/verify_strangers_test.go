package main

import (
	"errors"
	"strings"
	"testing"

	"migrate.invalid/migrate/app/migration"
	"migrate.invalid/migrate/app/store"
)

// A verify that isn't clean says what is the matter, and what helps against that.
func TestVerifySaysWhatIsTheMatter(t *testing.T) {
	for want, result := range map[string]store.VerifyResult{
		"":                              {Clean: true, Behind: 5},
		"2 missing, 3 stale":            {Missing: 2, Stale: 3, Strangers: 1, Unguarded: "no triggers"},
		"4 in the new database":         {Strangers: 4, Unguarded: "no triggers"},
		"the old database unseen: no t": {Unguarded: "no triggers"},
	} {
		err := differs(migration.VerifyReport{VerifyResult: result})
		if want == "" {
			if err != nil {
				t.Errorf("clean: %v", err)
			}
			continue
		}
		if !errors.Is(err, errDiffers) || !strings.Contains(err.Error(), want) {
			t.Errorf("%+v: %v, want %q", result, err, want)
		}
	}
}

func TestVerifyNamesStrangers(t *testing.T) {
	var out strings.Builder
	g := &globals{}
	var a verifyAnswer
	a.Strangers = 1
	a.Strange = []store.Stranger{{Collection: "orders", ID: "1.5"}}
	a.Samples = []migration.Mismatch{{Finding: migration.FoundStranger, ID: "told twice"}}
	g.printVerify(&out, a)
	text := out.String()
	for _, part := range []string{"1 stranger(s)", "stranger   1.5  of orders: nobody put it there by migrate"} {
		if !strings.Contains(text, part) {
			t.Errorf("%q doesn't say %q", text, part)
		}
	}
	if strings.Contains(text, "told twice") {
		t.Errorf("%q", text)
	}
}
