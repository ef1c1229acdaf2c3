package clickhouse

import (
	"compress/gzip"
	"crypto/rand"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/ClickHouse/ch-go/compress"
	"github.com/ClickHouse/ch-go/proto"

	"github.com/m7pulse/m7pulse/infra/local/chdb"
)

// An encoding is how an answer is compressed on its way.
type encoding int

const (
	plain encoding = iota
	gzipped
	framedLZ4
	framedZSTD
)

func encodingOf(r *http.Request, q url.Values) encoding {
	switch {
	case q.Get("compress") == "1" && strings.EqualFold(q.Get("network_compression_method"), "zstd"):
		return framedZSTD
	case q.Get("compress") == "1":
		return framedLZ4
	case q.Get("enable_http_compression") == "1" && strings.Contains(r.Header.Get("Accept-Encoding"), "gzip"):
		return gzipped
	}
	return plain
}

// An answer is the response to one request. Headers go out with the first byte of data: an error before that has a status and a header of its own, one
// after it is appended in the form that clients of this protocol look for.
type answer struct {
	w       http.ResponseWriter
	out     io.Writer // through the encoding, once started
	close   func() error
	enc     encoding
	tag     string
	version string
	begun   time.Time
}

// start sets what every answer says, and what this one will hold.
func (a *answer) start(req *request, format string) {
	h := a.w.Header()
	h.Set("X-ClickHouse-Query-Id", req.queryID)
	h.Set("X-ClickHouse-Format", format)
	h.Set("Content-Type", contentType(format))
	a.enc = req.encoding
}

func contentType(format string) string {
	switch {
	case strings.HasPrefix(format, "JSONEachRow"):
		return "application/x-ndjson; charset=UTF-8"
	case strings.HasPrefix(format, "JSON"):
		return "application/json; charset=UTF-8"
	case strings.HasPrefix(format, "TabSep"), strings.HasPrefix(format, "TSV"):
		return "text/tab-separated-values; charset=UTF-8"
	case strings.HasPrefix(format, "CSV"):
		return "text/csv; charset=UTF-8"
	case format == "Native", format == "Parquet", strings.HasPrefix(format, "RowBinary"), strings.HasPrefix(format, "Arrow"):
		return "application/octet-stream"
	}
	return "text/plain; charset=UTF-8"
}

// write sends data; the first call sends the headers, with what the statement has done so far.
func (a *answer) write(data []byte, stats chdb.Stats) error {
	if a.out == nil {
		a.summary(stats)
		a.open()
	}
	_, err := a.out.Write(data)
	return err
}

func (a *answer) open() {
	switch a.enc {
	case framedLZ4:
		a.out = &frameWriter{a.w, compress.NewWriter(compress.Level(1), compress.LZ4)}
	case framedZSTD:
		a.out = &frameWriter{a.w, compress.NewWriter(compress.Level(1), compress.ZSTD)}
	case gzipped:
		a.w.Header().Set("Content-Encoding", "gzip")
		z, _ := gzip.NewWriterLevel(a.w, gzip.BestSpeed) // the level is valid
		a.out, a.close = z, z.Close
	default:
		a.out = a.w
	}
}

// end completes an answer; one that never got data is empty, without any frame.
func (a *answer) end(stats chdb.Stats) error {
	if a.out == nil {
		a.summary(stats)
		a.w.Header().Set("Content-Length", "0")
		return nil
	}
	if a.close != nil {
		return a.close()
	}
	return nil
}

// announceTag promises in the headers the tag that marks an error in mid-stream.
func (a *answer) announceTag() {
	b := make([]byte, 8)
	rand.Read(b)
	a.tag = fmt.Sprintf("%x", b)
	a.w.Header().Set("X-ClickHouse-Exception-Tag", a.tag)
}

// fail sends an error: plain, never framed.
func (a *answer) fail(err error) {
	e := asException(err)
	message := strings.TrimRight(e.message, "\n") + fmt.Sprintf(" (version %s (chdb))", a.version)
	if a.out == nil {
		h := a.w.Header()
		h.Set("X-ClickHouse-Exception-Code", strconv.Itoa(e.code))
		h.Set("Content-Type", "text/plain; charset=UTF-8")
		h.Del("Content-Encoding")
		h.Del("X-ClickHouse-Exception-Tag")
		a.w.WriteHeader(httpStatus(e.code))
		io.WriteString(a.w, message+"\n")
		return
	}
	to := a.out
	if a.enc == framedLZ4 || a.enc == framedZSTD {
		to = a.w
	}
	fmt.Fprintf(to, "\r\n__exception__\r\n%s\r\n%s\n%d %s\r\n__exception__\r\n", a.tag, message, len(message)+1, a.tag)
	if a.close != nil {
		a.close()
	}
}

func (a *answer) summary(s chdb.Stats) {
	number := func(n uint64) string { return strconv.FormatUint(n, 10) }
	b, err := json.Marshal(map[string]string{
		"read_rows": number(s.ReadRows), "read_bytes": number(s.ReadBytes),
		"written_rows": number(s.WrittenRows), "written_bytes": number(s.WrittenBytes),
		"total_rows_to_read": "0", "result_rows": number(s.ResultRows), "result_bytes": "0",
		"elapsed_ns": strconv.FormatInt(time.Since(a.begun).Nanoseconds(), 10),
	})
	if err == nil {
		a.w.Header().Set("X-ClickHouse-Summary", string(b))
	}
}

// A frameWriter compresses into ClickHouse's own frames, of up to 1 MiB each.
type frameWriter struct {
	w     io.Writer
	frame *compress.Writer
}

func (f *frameWriter) Write(p []byte) (int, error) {
	for n := 0; n < len(p); {
		to := min(len(p), n+1<<20)
		if err := f.frame.Compress(p[n:to]); err != nil {
			return n, err
		}
		if _, err := f.w.Write(f.frame.Data); err != nil {
			return n, err
		}
		n = to
	}
	return len(p), nil
}

// isHello knows the first query of clickhouse-go over HTTP.
func isHello(sql string) bool {
	return strings.EqualFold(strings.Join(strings.Fields(strings.TrimRight(sql, "; \n")), " "), "SELECT displayName(), version(), revision(), timezone()")
}

// hello answers it. The client reads this one block at its own newest revision, with block info and a byte more per column, which the engine never
// writes; so it is encoded here, and says revision 0, at which the client then reads all further blocks.
func hello(version string) ([]byte, error) {
	name, release, zone, revision := new(proto.ColStr), new(proto.ColStr), new(proto.ColStr), proto.ColUInt32{0}
	name.Append("chdb")
	release.Append(version)
	zone.Append("UTC")
	var b proto.Buffer
	block := proto.Block{Info: proto.BlockInfo{BucketNum: -1}, Columns: 4, Rows: 1}
	const clientRevision = 54460
	err := block.EncodeBlock(&b, clientRevision, []proto.InputColumn{
		{Name: "displayName()", Data: name}, {Name: "version()", Data: release}, {Name: "revision()", Data: &revision}, {Name: "timezone()", Data: zone},
	})
	if err != nil {
		return nil, fmt.Errorf("encode the greeting: %w", err)
	}
	return b.Buf, nil
}
