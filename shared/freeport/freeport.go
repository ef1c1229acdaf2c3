// Package freeport finds TCP ports for servers that must be given their port
// before they start.
package freeport

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"strconv"
	"syscall"
)

// The ports looked at lie below those that kernels give to outgoing connections
// (from 32768 on Linux, 49152 on macOS and Windows) and below Kubernetes's
// NodePorts (from 30000). A port that the kernel chose would soon be chosen again,
// for a connection that starts before the server listens.
const (
	lowest  = 15_000
	highest = 29_999
	tries   = 100
)

// Find returns a port of 127.0.0.1 that nobody listens on, between 15000 and
// 29999. Another process may still take it before the caller does.
func Find() (int, error) {
	var taken error
	for range tries {
		port := lowest + rand.IntN(highest-lowest+1)
		l, err := net.Listen("tcp", net.JoinHostPort("127.0.0.1", strconv.Itoa(port)))
		if errors.Is(err, syscall.EADDRINUSE) {
			taken = err
			continue
		}
		if err != nil {
			return 0, fmt.Errorf("find a free port: %w", err)
		}
		return port, l.Close()
	}
	return 0, fmt.Errorf("find a free port from %d to %d: none of %d tried: %w", lowest, highest, tries, taken)
}

// Address is a port that Find returns, as 127.0.0.1:port.
func Address() (string, error) {
	port, err := Find()
	if err != nil {
		return "", err
	}
	return net.JoinHostPort("127.0.0.1", strconv.Itoa(port)), nil
}
