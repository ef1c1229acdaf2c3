package clickhouse

import (
	"errors"
	"io"
	"os"
)

// spooled is the data of an INSERT, in a file that the engine opens by its path.
type spooled struct {
	file *os.File
	path string
	size int64
}

// spool takes the data of an INSERT. All of it is there before the INSERT begins, so an
// upload that breaks off inserts nothing.
func spool(data io.Reader) (*spooled, error) {
	file, path, err := scratch()
	if err != nil {
		return nil, refuse(codeCannotWrite, "make room for the data: %v", err)
	}
	s := &spooled{file: file, path: path}
	if s.size, err = io.Copy(file, data); err != nil {
		err = errors.Join(err, s.close())
		var full *os.PathError
		if errors.As(err, &full) {
			return nil, refuse(codeMemoryLimit, "keep the data: %v", err)
		}
		return nil, asReadError(err)
	}
	return s, nil
}

// close frees the data.
func (s *spooled) close() error {
	return errors.Join(s.file.Close(), discard(s.path))
}
