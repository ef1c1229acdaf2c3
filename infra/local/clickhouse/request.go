package clickhouse

import (
	"bytes"
	"compress/gzip"
	"compress/zlib"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/ClickHouse/ch-go/compress"
	"github.com/andybalholm/brotli"
	"github.com/klauspost/compress/zstd"
	"github.com/pierrec/lz4/v4"
)

// A request is an HTTP request, read: the statement, how to answer it, and the data that is still in the body.
type request struct {
	statement
	data      io.Reader // of an INSERT with data
	queryID   string
	database  string
	format    string // of the answer, where the statement names none
	params    map[string]string
	settings  map[string]string
	session   string
	sessionTT time.Duration
	sessionIs bool // session_check: it must be there already
	native    bool // client_protocol_version: a native client behind HTTP
	encoding  encoding
	whole     bool // wait_end_of_query: no streaming
}

// readRequest reads all of a request but the data of an INSERT. maxBody limits the body after decompression, maxStatement the statement.
func readRequest(r *http.Request, maxBody int64, maxStatement int) (*request, error) {
	q := r.URL.Query()
	var body io.Reader
	if strings.HasPrefix(r.Header.Get("Content-Type"), "multipart/form-data") {
		if err := readForm(r, q, maxStatement); err != nil {
			return nil, err
		}
		body = strings.NewReader("")
	} else {
		plain, err := decompress(r, q.Get("decompress") == "1")
		if err != nil {
			return nil, err
		}
		body = &limited{plain, maxBody}
	}
	if text := q.Get("query"); text != "" && r.ContentLength != 0 {
		body = io.MultiReader(strings.NewReader(text+"\n"), body)
	} else if text != "" {
		body = strings.NewReader(text)
	}
	head, err := io.ReadAll(io.LimitReader(body, int64(maxStatement)))
	if err != nil {
		return nil, asReadError(err)
	}
	req := &request{queryID: q.Get("query_id"), params: map[string]string{}, settings: map[string]string{}}
	if req.queryID == "" {
		b := make([]byte, 16)
		rand.Read(b)
		req.queryID = fmt.Sprintf("%x-%x-%x-%x-%x", b[:4], b[4:6], b[6:8], b[8:10], b[10:])
	}
	req.statement, err = inspect(head)
	switch long := len(head) == maxStatement; {
	case long && (err != nil || req.insert == nil || req.insert.sql):
		return nil, refuse(codeSyntax, "a statement, its VALUES included, may have up to %d bytes: send more data in a FORMAT", maxStatement-1)
	case err != nil:
		return nil, err
	case req.insert != nil && req.insert.sql:
		req.data = bytes.NewReader(head[req.insert.data:req.insert.to])
	case req.insert != nil:
		req.data = io.MultiReader(bytes.NewReader(head[req.insert.data:]), body)
	}
	req.database = firstOf(q.Get("database"), r.Header.Get("X-ClickHouse-Database"))
	req.format = firstOf(q.Get("default_format"), r.Header.Get("X-ClickHouse-Format"), "TabSeparated")
	req.native = q.Has("client_protocol_version")
	req.whole = q.Get("wait_end_of_query") == "1"
	req.encoding = encodingOf(r, q)
	if err := req.readSession(q); err != nil {
		return nil, err
	}
	return req, req.readSettings(q)
}

// readForm merges the fields of a form into the parameters. Its files would be external tables, which the engine cannot take.
func readForm(r *http.Request, q url.Values, maxStatement int) error {
	form, err := r.MultipartReader()
	if err != nil {
		return refuse(codeBadArguments, "%v", err)
	}
	for {
		part, err := form.NextPart()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return asReadError(err)
		}
		if part.FileName() != "" {
			return refuse(codeNotImplemented, "external tables are not supported")
		}
		value, err := io.ReadAll(io.LimitReader(part, int64(maxStatement)))
		if err != nil {
			return asReadError(err)
		}
		if len(value) == maxStatement || len(q) > 1000 {
			return refuse(codeBadArguments, "the form is too large")
		}
		q[part.FormName()] = []string{string(value)}
	}
}

func (req *request) readSession(q url.Values) error {
	req.session, req.sessionIs = q.Get("session_id"), q.Get("session_check") == "1"
	req.sessionTT = time.Minute
	if seconds := q.Get("session_timeout"); seconds != "" {
		n, err := strconv.Atoi(seconds)
		if err != nil || n < 0 || n > 3600 {
			return refuse(codeBadArguments, "session_timeout must be 0 to 3600 seconds")
		}
		req.sessionTT = time.Duration(n) * time.Second
	}
	return nil
}

// readSettings takes the URL parameters that are left: param_NAME are the statement's parameters, all else are settings.
func (req *request) readSettings(q url.Values) error {
	name := regexp.MustCompile(`^[A-Za-z_][A-Za-z0-9_]*$`)
	for key, values := range q {
		if param, ok := strings.CutPrefix(key, "param_"); ok {
			req.params[param] = values[0]
			continue
		}
		if slices.Contains([]string{
			"query", "database", "default_format", "user", "password", "query_id", "session_id", "session_timeout", "session_check", "close_session",
			"quota_key", "compress", "decompress", "buffer_size", "wait_end_of_query", "client_protocol_version", "role", "stacktrace",
		}, key) {
			continue
		}
		if !name.MatchString(key) {
			return refuse(codeUnknownSetting, "Unknown setting %.60q", key)
		}
		req.settings[key] = values[0]
	}
	return nil
}

// decompress undoes Content-Encoding, then ClickHouse's own frames where decompress=1 asks for it.
func decompress(r *http.Request, framed bool) (io.Reader, error) {
	var (
		plain io.Reader = r.Body
		err   error
	)
	switch method := strings.ToLower(r.Header.Get("Content-Encoding")); method {
	case "", "identity":
	case "gzip", "x-gzip":
		plain, err = gzip.NewReader(r.Body)
	case "deflate":
		plain, err = zlib.NewReader(r.Body)
	case "br":
		plain = brotli.NewReader(r.Body)
	case "zstd":
		var decoder *zstd.Decoder
		if decoder, err = zstd.NewReader(r.Body, zstd.WithDecoderConcurrency(1), zstd.WithDecoderMaxMemory(256<<20)); err == nil {
			plain = decoder
		}
	case "lz4":
		plain = lz4.NewReader(r.Body)
	default:
		return nil, refuse(codeUnknownCompression, "unknown Content-Encoding %.20q", method)
	}
	if err != nil {
		return nil, asReadError(err)
	}
	if framed {
		plain = frames{compress.NewReader(plain)}
	}
	return plain, nil
}

// frames reads ClickHouse frames; ch-go wraps their regular end, which io.Copy and io.ReadAll must see plain.
type frames struct{ r io.Reader }

func (f frames) Read(p []byte) (int, error) {
	n, err := f.r.Read(p)
	if err != nil && errors.Is(err, io.EOF) && !errors.Is(err, io.ErrUnexpectedEOF) {
		err = io.EOF
	}
	return n, err
}

// limited fails once more than left bytes were read: unlike io.LimitedReader, it never passes a cut body for a whole one.
type limited struct {
	r    io.Reader
	left int64
}

func (l *limited) Read(p []byte) (int, error) {
	n, err := l.r.Read(p)
	if l.left -= int64(n); l.left < 0 {
		return 0, refuse(codeMemoryLimit, "the request body is too large")
	}
	return n, err
}

// asReadError says that the body could not be read, unless the error says already what is wrong.
func asReadError(err error) error {
	var known *exception
	if errors.As(err, &known) {
		return known
	}
	return refuse(codeCannotReadData, "cannot read the request body: %v", err)
}

func firstOf(values ...string) string {
	for _, v := range values {
		if v != "" {
			return v
		}
	}
	return ""
}
