package backup_test

import (
	"testing"

	"go.uber.org/goleak"
)

// TestMain leaves out go-redis' look whether a server is back, which sees up to a
// second late that its pool was closed.
func TestMain(m *testing.M) {
	goleak.VerifyTestMain(m, goleak.IgnoreAnyFunction("github.com/redis/go-redis/v9/internal/pool.(*ConnPool).tryDial"))
}
