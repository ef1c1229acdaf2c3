// Command pause keeps the namespaces of a pod, reaps processes that have lost their
// parent, and ends on a signal.
package main

import (
	"os"
	"os/signal"
	"syscall"
)

func main() {
	c := make(chan os.Signal, 8)
	signal.Notify(c, syscall.SIGINT, syscall.SIGTERM, syscall.SIGCHLD)
	for s := range c {
		if s == syscall.SIGCHLD {
			for {
				if p, err := syscall.Wait4(-1, nil, syscall.WNOHANG, nil); err != nil || p <= 0 {
					break
				}
			}
			continue
		}
		os.Exit(0)
	}
}
