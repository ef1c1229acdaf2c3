// Package chdb binds libchdb.so, ClickHouse as a library, without cgo.
//
// It is the thin layer under package clickhouse: connections, statements, chunks, errors as the engine words them. Limits, all the engine's own: one data
// path per process, for the life of the process; a connection runs one statement at a time, and SET and USE belong to it; Query takes a whole script,
// so never hand it a statement that holds a second one, nor one with inline FORMAT data: it would end the data at the first blank line and run the rest.
package chdb

import (
	"errors"
	"fmt"
	"runtime"
	"unsafe"

	"github.com/ebitengine/purego"
)

// A Library is a loaded libchdb.so.
type Library struct {
	connect          func(argc int32, argv unsafe.Pointer) unsafe.Pointer
	closeConn        func(conn unsafe.Pointer)
	query            func(conn, text unsafe.Pointer, textLen uintptr, format unsafe.Pointer, formatLen uintptr, names, nameLens, values, valueLens unsafe.Pointer, n uintptr) unsafe.Pointer
	stream           func(conn, text unsafe.Pointer, textLen uintptr, format unsafe.Pointer, formatLen uintptr, names, nameLens, values, valueLens unsafe.Pointer, n uintptr) unsafe.Pointer
	fetch            func(conn, stream unsafe.Pointer) unsafe.Pointer
	cancel           func(conn, stream unsafe.Pointer)
	destroy          func(result unsafe.Pointer)
	buffer           func(result unsafe.Pointer) unsafe.Pointer
	length           func(result unsafe.Pointer) uintptr
	failure          func(result unsafe.Pointer) unsafe.Pointer
	rows             func(result unsafe.Pointer) uint64
	readRows         func(result unsafe.Pointer) uint64
	readBytes        func(result unsafe.Pointer) uint64
	writtenRows      func(result unsafe.Pointer) uint64
	writtenBytes     func(result unsafe.Pointer) uint64
	setSignalHandler func(enabled int32)
}

// Open loads the library. Before that it sets TZ=UTC in the C environment of this process, which the engine reads once, when it is loaded; os.Setenv does
// not reach it in a binary without cgo. Signals stay with Go. A library cannot be unloaded.
func Open(path string) (*Library, error) {
	if err := setenv("TZ", "UTC"); err != nil {
		return nil, fmt.Errorf("set the engine's time zone: %w", err)
	}
	handle, err := purego.Dlopen(path, purego.RTLD_LAZY|purego.RTLD_LOCAL)
	if err != nil {
		return nil, fmt.Errorf("load %s: %w", path, err)
	}
	lib := new(Library)
	for _, symbol := range []struct {
		function any
		name     string
	}{
		{&lib.connect, "chdb_connect"},
		{&lib.closeConn, "chdb_close_conn"},
		{&lib.query, "chdb_query_with_params_n"},
		{&lib.stream, "chdb_stream_query_with_params_n"},
		{&lib.fetch, "chdb_stream_fetch_result"},
		{&lib.cancel, "chdb_stream_cancel_query"},
		{&lib.destroy, "chdb_destroy_query_result"},
		{&lib.buffer, "chdb_result_buffer"},
		{&lib.length, "chdb_result_length"},
		{&lib.failure, "chdb_result_error"},
		{&lib.rows, "chdb_result_rows_read"},
		{&lib.readRows, "chdb_result_storage_rows_read"},
		{&lib.readBytes, "chdb_result_storage_bytes_read"},
		{&lib.writtenRows, "chdb_result_rows_written"},
		{&lib.writtenBytes, "chdb_result_bytes_written"},
		{&lib.setSignalHandler, "chdb_set_signal_handlers_enabled"},
	} {
		address, err := purego.Dlsym(handle, symbol.name)
		if err != nil {
			return nil, fmt.Errorf("load %s: %w", path, err)
		}
		purego.RegisterFunc(symbol.function, address)
	}
	lib.setSignalHandler(0)
	return lib, nil
}

// setenv changes the environment that C code of this process sees.
func setenv(name, value string) error {
	address, err := purego.Dlsym(purego.RTLD_DEFAULT, "setenv")
	if err != nil {
		return err
	}
	var set func(name, value string, overwrite int32) int32
	purego.RegisterFunc(&set, address)
	if set(name, value, 1) != 0 {
		return fmt.Errorf("setenv %s failed", name)
	}
	return nil
}

// A Conn is one connection to the engine. It is not for concurrent use.
type Conn struct {
	lib    *Library
	handle unsafe.Pointer // what chdb_connect gave, and chdb_close_conn wants
	conn   unsafe.Pointer // what it points to, and everything else wants
}

// Connect opens a connection on the data path, which the first one makes and starts the engine on.
func (lib *Library) Connect(path string) (*Conn, error) {
	program, option := []byte("clickhouse\x00"), append([]byte("--path="+path), 0)
	argv := []*byte{&program[0], &option[0], nil}
	handle := lib.connect(int32(len(argv)-1), unsafe.Pointer(&argv[0]))
	runtime.KeepAlive(argv)
	if handle == nil {
		return nil, fmt.Errorf("the engine cannot open %s: no room, no right to write there, or this process already runs it on another path", path)
	}
	return &Conn{lib: lib, handle: handle, conn: *(*unsafe.Pointer)(handle)}, nil
}

// Close ends the connection. The last one to close stops the engine.
func (c *Conn) Close() {
	c.lib.closeConn(c.handle)
	c.handle, c.conn = nil, nil
}

// Stats counts what a statement has done so far.
type Stats struct {
	ResultRows, ReadRows, ReadBytes, WrittenRows, WrittenBytes uint64
}

// An Error is what the engine says is wrong: "Code: 60. DB::Exception: …".
type Error string

func (e Error) Error() string { return string(e) }

// Query runs a statement and returns its whole result.
func (c *Conn) Query(text, format string, params map[string]string) ([]byte, Stats, error) {
	return c.take(c.run(c.lib.query, text, format, params))
}

// Stream runs a SELECT and passes its result to chunk, piece by piece; an error of chunk stops it and is returned. Other statements, and scripts, are refused.
func (c *Conn) Stream(text, format string, params map[string]string, chunk func([]byte, Stats) error) error {
	stream := c.run(c.lib.stream, text, format, params)
	if stream == nil {
		return errors.New("chdb: no stream")
	}
	defer c.lib.destroy(stream)
	if message := c.lib.failure(stream); message != nil {
		return Error(goString(message))
	}
	for {
		data, stats, err := c.take(c.lib.fetch(c.conn, stream))
		if err != nil || len(data) == 0 {
			return err
		}
		if err := chunk(data, stats); err != nil {
			c.lib.cancel(c.conn, stream)
			return err
		}
	}
}

func (c *Conn) run(call func(conn, text unsafe.Pointer, textLen uintptr, format unsafe.Pointer, formatLen uintptr, names, nameLens, values, valueLens unsafe.Pointer, n uintptr) unsafe.Pointer,
	text, format string, params map[string]string) unsafe.Pointer {
	// C reads Go memory for the time of the call: every buffer is kept in a variable up to its end, and ends in a zero for those who look for it.
	textBytes, formatBytes := append([]byte(text), 0), append([]byte(format), 0)
	names, values := make([]*byte, 0, len(params)+1), make([]*byte, 0, len(params)+1)
	nameLens, valueLens := make([]uintptr, 0, len(params)+1), make([]uintptr, 0, len(params)+1)
	for name, value := range params {
		names, nameLens = append(names, &append([]byte(name), 0)[0]), append(nameLens, uintptr(len(name)))
		values, valueLens = append(values, &append([]byte(value), 0)[0]), append(valueLens, uintptr(len(value)))
	}
	names, values, nameLens, valueLens = append(names, nil), append(values, nil), append(nameLens, 0), append(valueLens, 0)
	result := call(c.conn, unsafe.Pointer(&textBytes[0]), uintptr(len(text)), unsafe.Pointer(&formatBytes[0]), uintptr(len(format)),
		unsafe.Pointer(&names[0]), unsafe.Pointer(&nameLens[0]), unsafe.Pointer(&values[0]), unsafe.Pointer(&valueLens[0]), uintptr(len(params)))
	runtime.KeepAlive(textBytes)
	runtime.KeepAlive(formatBytes)
	runtime.KeepAlive(names)
	runtime.KeepAlive(values)
	runtime.KeepAlive(nameLens)
	runtime.KeepAlive(valueLens)
	return result
}

// take copies a result out of C memory and frees it.
func (c *Conn) take(result unsafe.Pointer) ([]byte, Stats, error) {
	if result == nil {
		return nil, Stats{}, errors.New("chdb: no result")
	}
	defer c.lib.destroy(result)
	if message := c.lib.failure(result); message != nil {
		return nil, Stats{}, Error(goString(message))
	}
	var data []byte
	if n := c.lib.length(result); n > 0 {
		data = append(data, unsafe.Slice((*byte)(c.lib.buffer(result)), n)...)
	}
	return data, Stats{
		ResultRows: c.lib.rows(result), ReadRows: c.lib.readRows(result), ReadBytes: c.lib.readBytes(result),
		WrittenRows: c.lib.writtenRows(result), WrittenBytes: c.lib.writtenBytes(result),
	}, nil
}

func goString(p unsafe.Pointer) string {
	n := 0
	for *(*byte)(unsafe.Add(p, n)) != 0 {
		n++
	}
	return string(unsafe.Slice((*byte)(p), n))
}
