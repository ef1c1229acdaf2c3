// Command fetch-org is the function fetch-org as a program of its own: it links only what
// that function needs, so it starts fast.
package main

import (
	fetchorg "github.com/m7pulse/m7pulse/functions/fetch-org"
	"github.com/m7pulse/m7pulse/infra/local/host"
)

func main() { host.Run(fetchorg.New()) }
