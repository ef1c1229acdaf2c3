//go:build !unix

package download

import (
	"context"
	"errors"
)

// Lock is not to be had on this platform.
func Lock(context.Context, string, func()) (func(), error) {
	return nil, errors.New("files cannot be locked on this platform")
}
