package mongo

import (
	"errors"
	"testing"

	"go.mongodb.org/mongo-driver/v2/mongo"

	"migrate.invalid/migrate/app/store"
)

// The driver repeats a write by itself where the server has sessions, which the
// embedded one has not. The answer to the second attempt says nothing about the first.
func TestRefusedTheSecondTimeIsUnknown(t *testing.T) {
	refused := mongo.WriteException{WriteErrors: mongo.WriteErrors{{Code: codeDuplicate}}}
	for attempts, want := range map[int32]error{0: store.ErrUnavailable, 1: store.ErrConflict, 2: store.ErrUnknown} {
		c := &call{Context: t.Context(), link: newLink("mongodb://127.0.0.1/", DefaultTimeout)}
		c.sent.Store(5 + attempts)
		if err := c.written(refused, 5); !errors.Is(err, want) {
			t.Errorf("refused after %d attempts: %v, want %v", attempts, err, want)
		}
	}
}
