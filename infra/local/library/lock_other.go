//go:build !unix

package library

import "context"

// lock is never reached: Fetch refuses this platform first.
func lock(context.Context, string, func()) (func(), error) { return nil, ErrPlatform }
