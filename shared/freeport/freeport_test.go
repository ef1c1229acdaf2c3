package freeport_test

import (
	"net"
	"testing"

	"github.com/m7pulse/m7pulse/shared/freeport"
)

// Somebody listens on each port that was found, so none may come twice, and none
// may be one that the kernel gives to an outgoing connection.
func TestPortsFoundAreFreeAndNotForOutgoingConnections(t *testing.T) {
	for range 200 {
		address, err := freeport.Address()
		if err != nil {
			t.Fatal(err)
		}
		l, err := net.Listen("tcp", address)
		if err != nil {
			t.Fatal(err)
		}
		defer l.Close()
		if port := l.Addr().(*net.TCPAddr).Port; port < 15_000 || port >= 30_000 {
			t.Errorf("port %d", port)
		}
	}
}
