// Command prepare builds the S3 server of the tests, once for a machine, so
// that no test waits for it.
package main

import (
	"fmt"
	"os"

	"github.com/framedb/framedb/client/objects/s3test"
)

func main() {
	if err := s3test.Prepare(os.Stderr); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}
