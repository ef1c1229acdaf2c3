// Command notify is the function notify as a program of its own: it links only what
// that function needs, so it starts fast.
package main

import (
	"github.com/m7pulse/m7pulse/functions/notify"
	"github.com/m7pulse/m7pulse/infra/local/host"
)

func main() { host.Run(notify.New()) }
