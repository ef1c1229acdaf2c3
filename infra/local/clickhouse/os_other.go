//go:build !linux

package clickhouse

import (
	"errors"
	"io"
	"os"
)

var errPlatform = errors.New("the embedded ClickHouse runs on linux only: install clickhouse and put it on PATH")

func spool(io.Reader) (*os.File, error) { return nil, errPlatform }

func pathOf(*os.File) string { return "" }

func lock(string) (func(), error) { return nil, errPlatform }
