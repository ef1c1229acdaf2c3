package clickhouse

import (
	"context"
	"crypto/rand"
	"errors"
	"maps"
	"net/http"
	"runtime"
	"slices"
	"strings"
	"time"

	"github.com/m7pulse/m7pulse/infra/local/chdb"
)

// serveQuery answers one request.
func (s *server) serveQuery(w http.ResponseWriter, r *http.Request) {
	s.running.Add(1)
	defer s.running.Done()
	a := &answer{w: w, version: s.version, begun: time.Now()}
	w.Header().Set("X-ClickHouse-Server-Display-Name", "chdb")
	w.Header().Set("X-ClickHouse-Timezone", "UTC")
	reader, err := s.authenticate(r)
	if err != nil {
		a.fail(err)
		return
	}
	switch {
	case r.Method != http.MethodGet && r.Method != http.MethodHead && r.Method != http.MethodPost:
		http.Error(w, "GET or POST", http.StatusMethodNotAllowed)
		return
	case r.Method != http.MethodPost && !r.URL.Query().Has("query"):
		w.Write([]byte("Ok.\n"))
		return
	}
	select { // before the body is read, so that what waits holds no memory
	case s.slots <- struct{}{}:
		defer func() { <-s.slots }()
	case <-r.Context().Done():
		return
	}
	if err := s.query(r, reader, a); err != nil {
		a.fail(err)
	}
}

func (s *server) query(r *http.Request, reader bool, a *answer) error {
	req, err := readRequest(r, maxBody, maxStatement)
	if err != nil {
		return err
	}
	format := firstOf(req.statement.format, req.format)
	a.start(req, format)
	if req.native && isHello(req.sql) {
		greeting, err := hello(s.version)
		if err != nil {
			return err
		}
		if err := a.write(greeting, chdb.Stats{}); err != nil {
			return err
		}
		return a.end(chdb.Stats{})
	}
	settings := maps.Clone(req.settings)
	if _, given := settings["readonly"]; !given && r.Method != http.MethodPost {
		settings["readonly"] = "2" // as with any ClickHouse, GET changes nothing
	}
	if reader {
		if settings, err = s.limitReader(req); err != nil {
			return err
		}
	}
	settings["log_comment"] = rand.Text() // what kill finds the query by

	if req.insert != nil {
		data, err := spool(req.data)
		if err != nil {
			return err
		}
		defer func() { _ = data.close() }() // it is in memory, or is overlooked with the rest of the temporary files
		if data.size == 0 {                 // an INSERT without a row
			return a.end(chdb.Stats{})
		}
		req.sql = req.insert.withFile(data.path)
	}
	runtime.LockOSThread() // the engine keeps state of a query with the thread that runs it
	defer runtime.UnlockOSThread()
	conn, giveBack, err := s.lend(req, settings, reader)
	if err != nil {
		return err
	}
	defer giveBack()
	defer s.killOnEnd(r.Context(), settings["log_comment"])()
	if canStream(req, format) {
		switch started, err := s.stream(r.Context(), conn, req, a); {
		case err == nil, started:
			return err
		case !strings.Contains(err.Error(), "Streaming query is not supported"):
			return err
		}
	}
	data, stats, err := conn.Query(req.sql, req.format, req.params)
	if !req.reads() {
		err = errors.Join(err, s.settled())
	}
	if err != nil {
		return err
	}
	if len(data) > 0 {
		if err := a.write(data, stats); err != nil {
			return err
		}
	}
	return a.end(stats)
}

// reads says of a statement that it is a query and changes nothing.
func (req *request) reads() bool { return slices.Contains([]string{"SELECT", "WITH", "("}, req.verb) }

// canStream says which answers may be sent chunk by chunk: those of a query, in a format in which chunks in a row make a whole.
func canStream(req *request, format string) bool {
	return !req.whole && !req.totals && req.reads() &&
		slices.Contains([]string{"Native", "TabSeparated", "TSV", "TabSeparatedRaw", "TSVRaw", "CSV", "JSONEachRow", "RowBinary"}, format)
}

func (s *server) stream(ctx context.Context, conn *chdb.Conn, req *request, a *answer) (started bool, err error) {
	err = conn.Stream(req.sql, req.format, req.params, func(data []byte, stats chdb.Stats) error {
		if !started {
			a.announceTag()
			started = true
		}
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		return a.write(data, stats)
	})
	if err != nil {
		return started, err
	}
	return started, a.end(chdb.Stats{})
}

// killOnEnd kills the query with this log_comment once ctx ends, which is when its client has gone: by itself the engine would run it to its end. The
// function it returns says that the query is over.
func (s *server) killOnEnd(ctx context.Context, comment string) (over func()) {
	done := make(chan struct{})
	s.running.Add(1)
	stop := context.AfterFunc(ctx, func() {
		defer s.running.Done()
		for { // again and again: it may not have begun
			if err := s.kill(comment); err != nil {
				s.cfg.Log.Warn("clickhouse: kill a query whose client has gone", "error", err)
			}
			select {
			case <-done:
				return
			case <-time.After(100 * time.Millisecond):
			}
		}
	})
	return func() {
		close(done)
		if stop() {
			s.running.Done()
		}
	}
}

func (s *server) kill(comment string) error {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	conn, err := s.lib.Connect(s.cfg.DataDir)
	if err != nil {
		return err
	}
	defer conn.Close()
	_, _, err = conn.Query("KILL QUERY WHERE Settings['log_comment'] = "+quoteText(comment)+" ASYNC", "", nil)
	return err
}
