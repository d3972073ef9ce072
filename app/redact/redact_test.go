package redact

import (
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"strconv"
	"strings"
	"testing"

	"pgregory.net/rapid"
)

func TestURI(t *testing.T) {
	for in, want := range map[string]string{
		"":                                   "",
		"no uri with s3cret":                 Hidden,
		"mongodb://127.0.0.1:27117":          "mongodb://127.0.0.1:27117",
		"mongodb://[::1]:27117,h:1/todo?w=1": "mongodb://[::1]:27117,h:1/todo?w=1",
		"mongodb://ann@h/todo":               "mongodb://ann@h/todo",
		"mongodb://ann:s3cret@h1:1,h2:2/todo?w=1":                                                 "mongodb://ann:xxxxx@h1:1,h2:2/todo?w=1",
		"mongodb+srv://ann:s3c@ret@h/":                                                            "mongodb+srv://ann:xxxxx@h/",
		"mongodb://ann:s3/cret@h/?tls=true":                                                       "mongodb://ann:xxxxx@h/?tls=true",
		"mongodb://ann:s3?cret@h/todo":                                                            "mongodb://ann:xxxxx@h/todo",
		"mongodb://ann:12/s3cret@h/":                                                              "mongodb://ann:xxxxx@h/",
		"mongodb://ann:s3 cret's \"own\"@h/":                                                      "mongodb://ann:xxxxx@h/",
		"mongodb://h:1/todo?appName=a@b":                                                          "mongodb://h:1/todo?appName=a@b",
		"mongodb://h/?tls=true&tlsCertificateKeyFilePassword=s3cret&w=1":                          "mongodb://h/?tls=true&tlsCertificateKeyFilePassword=xxxxx&w=1",
		"mongodb://h/?tlsCertificateKeyFilePassword=two s3&cret":                                  "mongodb://h/?tlsCertificateKeyFilePassword=xxxxx&xxxxx",
		"mongodb://h/?authMechanismProperties=SERVICE_NAME:mongo,AWS_SESSION_TOKEN:s3cret&w=1":    "mongodb://h/?authMechanismProperties=SERVICE_NAME:mongo,AWS_SESSION_TOKEN:xxxxx&w=1",
		"mongodb://h/?AUTHMECHANISMPROPERTIES=aws_session_token:s3:cret,s3":                       "mongodb://h/?AUTHMECHANISMPROPERTIES=aws_session_token:xxxxx,xxxxx",
		"mongodb://h/?proxyUsername=ann&proxyPassword=s3cret&other=s3":                            "mongodb://h/?proxyUsername=xxxxx&proxyPassword=xxxxx&xxxxx",
		"https://s3cret@example.invalid/x?api_key=s3cret&since=2h":                                "https://:xxxxx@example.invalid/x?api_key=xxxxx&since=2h",
		"postgres://ann:s3cret@h/db?sslpassword=s3cret&sslmode=require":                           "postgres://ann:xxxxx@h/db?sslpassword=xxxxx&sslmode=require",
		"http://127.0.0.1:5000/tasks?assignee=bill@example.invalid":                               "http://127.0.0.1:5000/tasks?assignee=bill@example.invalid",
		"mongodb://h/?replicaSet=rs0&authSource=admin&tlsCertificateKeyFile=/k.pem&tlsCAFile=/ca": "mongodb://h/?replicaSet=rs0&authSource=admin&tlsCertificateKeyFile=/k.pem&tlsCAFile=/ca",
	} {
		if got := URI(in); got != want || strings.Contains(got, "s3") {
			t.Errorf("URI(%q) = %q, want %q", in, got, want)
		}
		if has := Secrets(in); has != strings.Contains(in, "://") && has != Hides(want) {
			t.Errorf("Secrets(%q) = %v", in, has)
		}
	}
}

func TestText(t *testing.T) {
	for in, want := range map[string]string{
		"mongodb://u:s3@h1:1,h2:2/db":                              "mongodb://u:xxxxx@h1:1,h2:2/db",
		"x --uri=mongodb+srv://u:s3@h/ --step 3":                   "x --uri=mongodb+srv://u:xxxxx@h/ --step 3",
		"the new one is m://a:s3@h/, not m://b:s3@h/ (ann@laptop)": "the new one is m://a:xxxxx@h/, not m://b:xxxxx@laptop)",
		"can't reach m://a:it's s3@h/: refused":                    "can't reach m://a:xxxxx@h/: refused",
		`the URI "m://a:dq\"-s3@h/" is odd`:                        `the URI "m://a:xxxxx@h/" is odd`,
		"one m://a:s3@h\ntwo bill@h":                               "one m://a:xxxxx@h\ntwo bill@h",
		`--api-key=s3 -v`:                                          `--api-key=xxxxx -v`,
		`--password s3 -v`:                                         `--password xxxxx -v`,
		`--password "two s3" -v`:                                   `--password xxxxx -v`,
		`sh -c 'API_TOKEN=s3 exec ./svc'`:                          `sh -c 'API_TOKEN=xxxxx exec ./svc'`,
		`{"password": "s3\"s3", "a": 1}`:                           `{"password": xxxxx, "a": 1}`,
		"password: s3":                                             "password: xxxxx",
		"dbPassword=s3,user=ann":                                   "dbPassword=xxxxx,user=ann",
	} {
		if got := Text(in); got != want || strings.Contains(got, "s3") {
			t.Errorf("Text(%q) = %q, want %q", in, got, want)
		}
	}
	for _, plain := range []string{
		"http://127.0.0.1:5000/tasks by bill@laptop", "mongodb://h:27017/?tls=true", "mongodb://[::1]:1/ by bill@laptop",
		`E11000 duplicate key error collection: todo.tasks index: _id_ dup key: { _id: "a" }`,
		"migrate spawn --port 8001 --step 3 -- ./svc --listen 127.0.0.1:{port}", "auth error: unable to authenticate",
		"start the process with PORT=8001 and NODE_ENV=production", "password: none was given", "tokens=", "a=b://c", "://x@y",
		"--token-file=/run/token", "AUTH_URL=http://127.0.0.1:1/", "", "pass: backfill",
	} {
		if got := Text(plain); got != plain {
			t.Errorf("Text(%q) = %q: nothing in it is a secret", plain, got)
		}
	}
}

func TestWords(t *testing.T) {
	in := []string{"env", "API_KEY=s3", "DB=postgres://u:s3 s3@h/d", "PORT={port}", "./svc", "--api-key=s3", "--password", "s3 s3", "--token={port}",
		"m://u:it's s3@h/", "-v", "--secret", "--other", "sh -c 'TOKEN=\"s3 s3\" ./x'", "--url=http://s3@h/", "--key", "s3"}
	want := []string{"env", "API_KEY=xxxxx", "DB=postgres://u:xxxxx@h/d", "PORT={port}", "./svc", "--api-key=xxxxx", "--password", "xxxxx", "--token={port}",
		"m://u:xxxxx@h/", "-v", "--secret", "--other", "sh -c 'TOKEN=xxxxx ./x'", "--url=http://:xxxxx@h/", "--key", "xxxxx"}
	if got := Words(in); !slices.Equal(got, want) {
		t.Errorf("got  %q\nwant %q", got, want)
	}
	if got, want := Shows([]string{"./svc", "--api-key=s3", "--password", "s3", "--port", "1"}), []string{"--api-key=xxxxx", "--password"}; !slices.Equal(got, want) {
		t.Errorf("words that show a secret: %q, want %q", got, want)
	}
}

func TestKnown(t *testing.T) {
	r := Knowing("mongodb://ann:s3%20cret@h/?tlsCertificateKeyFilePassword=hush-hush", "mongodb://bob:abc@h/")
	for _, in := range []string{"open: s3 cret", "s3%20cret", "no key for hush-hush here"} {
		if got := r.Text(in); !Hides(got) || strings.Contains(got, "cret") || strings.Contains(got, "hush") {
			t.Errorf("%q: %q", in, got)
		}
	}
	if got := r.Text("abcdef"); got != "abcdef" {
		t.Errorf("a secret of three letters was looked for in other words: %q", got)
	}
	err := r.Error(fmt.Errorf("with hush-hush: %w", fs.ErrNotExist))
	if !errors.Is(err, fs.ErrNotExist) || strings.Contains(err.Error(), "hush") {
		t.Errorf("%v", err)
	}
	if (*Redactor)(nil).Text("a") != "a" || r.Error(nil) != nil {
		t.Error("without secrets nothing is there to change")
	}
}

const canary = "c4n4ry"

// oddPasswords are what no careful person has in a URI.
func oddPasswords() *rapid.Generator[string] {
	odd := rapid.StringOfN(rapid.RuneFrom([]rune("ab1 '\"@:/?#&=%\\,;|$[]{}<>!~`ä€-_.")), 0, 6, -1)
	return rapid.Custom(func(t *rapid.T) string { return odd.Draw(t, "before") + canary + odd.Draw(t, "after") })
}

// Whatever a password or a secret option holds, it shows neither in the URI nor
// in a command line, by whichever way the word is quoted.
func TestNoSecretShows(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		password := oddPasswords().Draw(t, "password")
		scheme := rapid.SampledFrom([]string{"mongodb", "mongodb+srv", "postgres", "amqp"}).Draw(t, "scheme")
		host := rapid.SampledFrom([]string{"h", "127.0.0.1:27017", "[::1]:1", "a.invalid:1,b:2"}).Draw(t, "host")
		tail := rapid.SampledFrom([]string{"", "/", "/todo", "/todo?w=1&tls=true", "/?authSource=admin"}).Draw(t, "tail")
		uri := scheme + "://ann:" + password + "@" + host + tail
		name := rapid.SampledFrom([]string{"--password", "API_KEY", "--db-secret", "authToken"}).Draw(t, "name")
		shown := append(Words([]string{uri, "--uri=" + uri, "URI=" + uri, name + "=" + password}), URI(uri))
		if !strings.HasPrefix(password, "-") {
			shown = append(shown, Words([]string{"--password", password})...)
		}
		option := strings.NewReplacer("@", "", "#", "").Replace(password)
		shown = append(shown, URI("mongodb://"+host+"/?w=1&tlsCertificateKeyFilePassword="+option),
			URI("mongodb://"+host+"/?authMechanismProperties=SERVICE_NAME:m,AWS_SESSION_TOKEN:"+option),
			Knowing(uri).Text("the driver says "+password+" of "+uri))
		for _, text := range shown {
			if strings.Contains(text, canary) {
				t.Fatalf("shown: %s", text)
			}
		}
	})
}

// Nor does it in a text that quotes the URI, unless the password begins like a
// port and goes on behind a blank, or holds what looks like another URI.
func TestNoSecretShowsInText(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		password := "p" + strings.ReplaceAll(oddPasswords().Draw(t, "password"), "://", "//")
		uri := "mongodb://ann:" + password + "@127.0.0.1:27017/todo?w=1"
		quoted := rapid.SampledFrom([]string{uri, strconv.Quote(uri), "'" + strings.ReplaceAll(uri, "'", `'\''`) + "'", "--uri=" + uri}).Draw(t, "quoted")
		text := "can't reach " + quoted + " or http://127.0.0.1:5000/ for bill@laptop"
		if shown := Text(text); strings.Contains(shown, canary) {
			t.Fatalf("shown: %s", shown)
		}
	})
}
