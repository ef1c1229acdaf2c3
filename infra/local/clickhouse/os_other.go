//go:build !linux

package clickhouse

import "os"

// scratch makes an empty file and names it to the engine.
func scratch() (*os.File, string, error) {
	file, err := os.CreateTemp("", "m7pulse-insert-")
	if err != nil {
		return nil, "", err
	}
	return file, file.Name(), nil
}

// discard removes a file of scratch.
func discard(path string) error { return os.Remove(path) }
