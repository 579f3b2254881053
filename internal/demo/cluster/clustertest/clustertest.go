// Package clustertest gives the tests of a package one private PostgreSQL server.
package clustertest

import (
	"context"
	"fmt"
	"os"
	"testing"

	"gatehouse/internal/demo/cluster"
)

// Run runs a package's tests with a server, and gives the exit code for TestMain. Without a server the
// tests fail: a test that cannot run proves nothing.
func Run(m *testing.M, settings map[string]string, use func(*cluster.Cluster)) int {
	dir, err := os.MkdirTemp("", "gatehouse-test-")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	defer os.RemoveAll(dir)
	os.Chmod(dir, 0o711) // the server's user goes through it
	c, err := cluster.Start(context.Background(), cluster.Options{Dir: dir + "/pg", TLS: true, Ephemeral: true, Settings: settings})
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	defer c.Stop()
	use(c)
	return m.Run()
}
