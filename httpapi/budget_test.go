package httpapi

import (
	"errors"
	"testing"

	"github.com/framedb/framedb/client/wire"
)

func TestBudgetRefusesInsteadOfQueueing(t *testing.T) {
	b := newBudget(10)
	release, err := b.take(7)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := b.take(4); !errors.Is(err, wire.ErrOverloaded) || wire.AsError(err).RetryAfter <= 0 {
		t.Errorf("took more than there is: %v", err)
	}
	if _, err := b.take(3); err != nil {
		t.Errorf("the rest is refused: %v", err)
	}
	release()
	if _, err := b.take(7); err != nil {
		t.Errorf("what was given back is refused: %v", err)
	}
}
