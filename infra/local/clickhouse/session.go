package clickhouse

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/m7pulse/m7pulse/infra/local/chdb"
)

// sessions are connections that outlive a request, with their temporary tables, under the session_id of a client. A reader has none: a connection once
// readonly stays it.
type sessions struct {
	mu   sync.Mutex
	open map[string]*session
}

type session struct {
	conn  *chdb.Conn
	busy  bool
	ends  time.Time
	timer *time.Timer
}

// take lends the session's connection to one request at a time, and makes it first where there is none.
func (all *sessions) take(req *request, connect func() (*chdb.Conn, error)) (*chdb.Conn, error) {
	all.mu.Lock()
	defer all.mu.Unlock()
	if s := all.open[req.session]; s != nil {
		if s.busy {
			return nil, refuse(codeSessionLocked, "session %.100q is locked by a concurrent client", req.session)
		}
		s.busy = true
		s.timer.Stop()
		return s.conn, nil
	}
	if req.sessionIs {
		return nil, refuse(codeSessionNotFound, "session %.100q is not there", req.session)
	}
	if len(all.open) >= maxSessions {
		return nil, refuse(codeTooManyQueries, "there are %d sessions already", maxSessions)
	}
	conn, err := connect()
	if err != nil {
		return nil, err
	}
	if all.open == nil {
		all.open = map[string]*session{}
	}
	all.open[req.session] = &session{conn: conn, busy: true}
	return conn, nil
}

// giveBack keeps the connection for the session's time; one that is not fit for another request ends now.
func (all *sessions) giveBack(req *request, fit bool) {
	all.mu.Lock()
	defer all.mu.Unlock()
	s := all.open[req.session]
	if !fit {
		delete(all.open, req.session)
		s.conn.Close()
		return
	}
	s.busy, s.ends = false, time.Now().Add(req.sessionTT)
	s.timer = time.AfterFunc(req.sessionTT, func() {
		all.mu.Lock()
		defer all.mu.Unlock()
		if all.open[req.session] == s && !s.busy && !time.Now().Before(s.ends) {
			delete(all.open, req.session)
			s.conn.Close()
		}
	})
}

// closeAll ends all sessions; no request may be running.
func (all *sessions) closeAll() {
	all.mu.Lock()
	defer all.mu.Unlock()
	for _, s := range all.open {
		s.timer.Stop()
		s.conn.Close()
	}
	all.open = nil
}

// lend gives the request a connection that has its database and settings, and takes it back with giveBack. Settings come in one SET, so that a request
// cannot lift with one what another one limits.
func (s *server) lend(req *request, settings map[string]string, reader bool) (conn *chdb.Conn, giveBack func(), err error) {
	connect := func() (*chdb.Conn, error) {
		conn, err := s.lib.Connect(s.cfg.DataDir)
		if err != nil {
			return nil, err
		}
		if !reader {
			err = set(conn, map[string]string{
				"max_execution_time": fmt.Sprint(max(1, int64(s.cfg.MaxExecutionTime/time.Second))),
				"max_memory_usage":   fmt.Sprint(s.cfg.MaxMemory),
			})
		}
		if err != nil {
			conn.Close()
			return nil, err
		}
		return conn, nil
	}
	restore := ""
	if req.session == "" || reader {
		if conn, err = connect(); err != nil {
			return nil, nil, err
		}
		giveBack = conn.Close
	} else {
		if conn, err = s.sessions.take(req, connect); err != nil {
			return nil, nil, err
		}
		giveBack = func() { // settings of a request end with it, those that SET made stay
			fit := true
			if restore != "" {
				_, _, err := conn.Query(restore, "", nil)
				fit = err == nil
			}
			s.sessions.giveBack(req, fit)
		}
		if restore, err = asTheyAre(conn, settings); err != nil {
			giveBack()
			return nil, nil, err
		}
	}
	if req.database != "" {
		if _, _, err := conn.Query("USE "+quoteName(req.database), "", nil); err != nil {
			giveBack()
			return nil, nil, err
		}
	}
	if err := set(conn, settings); err != nil {
		giveBack()
		return nil, nil, err
	}
	return conn, giveBack, nil
}

func set(conn *chdb.Conn, settings map[string]string) error {
	assignments := make([]string, 0, len(settings))
	for _, name := range slices.Sorted(maps.Keys(settings)) {
		assignments = append(assignments, name+" = "+quoteText(settings[name]))
	}
	_, _, err := conn.Query("SET "+strings.Join(assignments, ", "), "", nil)
	return err
}

// asTheyAre returns the SET that makes the settings what they are now.
func asTheyAre(conn *chdb.Conn, settings map[string]string) (string, error) {
	names := make([]string, 0, len(settings))
	for name := range settings {
		names = append(names, quoteText(name))
	}
	now, _, err := conn.Query(`SELECT if(count() = 0, '', 'SET ' || arrayStringConcat(groupArray(name || ' = \'' ||
		replaceAll(replaceAll(value, '\\', '\\\\'), '\'', '\\\'') || '\''), ', ')) FROM system.settings WHERE name IN (`+strings.Join(names, ", ")+")", "TSVRaw", nil)
	return strings.TrimSpace(string(now)), err
}
