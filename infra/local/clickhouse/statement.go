package clickhouse

import (
	"bytes"
	"strings"
)

// A statement is what the endpoint must know of a statement before the engine sees it.
type statement struct {
	sql    string // without data; an INSERT with data has a hole for its file: see withFile
	verb   string // the first word, in capitals; "(" for a query in brackets
	format string // the FORMAT of a query, "" where it names none
	totals bool   // the result has more than rows: WITH TOTALS
	calls  []string
	insert *insert // only of an INSERT with data
}

// An insert says where the data of "INSERT … FORMAT X <data>" or "INSERT … VALUES <data>" starts, and how to read it from a file instead.
type insert struct {
	head, settings, format string
	data                   int
	sql                    bool // VALUES: the data is SQL, and ends at to
	to                     int
}

// withFile is the INSERT that reads its data from path. The engine must never see data inline: it takes its input for a script, ends data at the first blank
// line, and runs what follows as the next statement.
func (i *insert) withFile(path string) string {
	return i.head + " FROM INFILE " + quoteText(path) + " COMPRESSION 'none' " + i.settings + " FORMAT " + i.format
}

// inspect reads the statement at the start of input, which is all of it unless it is an INSERT with data. It refuses what the endpoint does not do:
//   - a second statement (62);
//   - INTO OUTFILE and FROM INFILE, which read and write files of the host, the first one even with readonly=1 (48);
//   - input() in an INSERT: the engine would answer and store nothing (48);
//   - an INSERT whose data has no FORMAT or VALUES before it, and one of a SELECT that has a FORMAT (62).
func inspect(input []byte) (statement, error) {
	var (
		st        statement
		lex       = lexer{sql: input}
		previous  string // the token before, in capitals
		clause    string // the two tokens before, in capitals
		called    string // the name before, if a bracket now makes it a call
		depth     int
		inserting bool // INSERT seen at depth 0
		selecting bool // then SELECT, WITH or the like: no data
		settings  = -1
		closed    = -1 // where the first semicolon is
	)
	for {
		tok, err := lex.next()
		if err != nil {
			return st, err
		}
		if tok.kind == end {
			break
		}
		if tok.kind == punctuation && input[tok.at] == ';' {
			if closed < 0 {
				closed = tok.at
			}
			continue
		}
		if closed >= 0 {
			return st, refuse(codeSyntax, "one statement per request: there is more after the semicolon")
		}
		raw := string(input[tok.at:tok.to])
		upper := ""
		if tok.kind == word || tok.kind == punctuation {
			upper = strings.ToUpper(raw)
		}
		if st.verb == "" {
			if upper == "" {
				return st, refuse(codeSyntax, "a statement cannot start with %.20s", raw)
			}
			st.verb = upper
		}
		switch upper {
		case "(":
			if called != "" {
				st.calls = append(st.calls, strings.ToLower(called))
				if inserting && strings.EqualFold(called, "input") {
					return st, refuse(codeNotImplemented, "input() is not supported: insert the data into the table itself")
				}
			}
			depth++
		case ")":
			depth--
		case "TOTALS":
			st.totals = true
		case "WITH":
			if previous == "PARALLEL" {
				return st, refuse(codeNotImplemented, "PARALLEL WITH is not supported: one statement per request")
			}
		case "INSERT": // EXPLAIN INSERT and WITH … INSERT are inserts too; a column may have that name elsewhere
			inserting = inserting || depth == 0 && st.verb != "SELECT" && st.verb != "("
		}
		if tok.kind == text {
			switch {
			case clause == "INTO OUTFILE":
				return st, refuse(codeNotImplemented, "INTO OUTFILE is not supported: the answer holds the result")
			case clause == "FROM INFILE":
				return st, refuse(codeNotImplemented, "FROM INFILE is not supported: send the data in the request")
			}
		}
		clause = previous + " " + upper
		afterTarget := previous == "INTO" || previous == "TABLE" || previous == "." // a table may have any name
		called = ""
		if (tok.kind == word || tok.kind == quotedName) && !(inserting && afterTarget) {
			called = strings.Trim(raw, "`\"")
		}
		if tok.kind == word && depth == 0 && !afterTarget {
			switch {
			case inserting && !selecting:
				switch upper {
				case "SELECT", "WITH", "WATCH", "FROM":
					selecting = true
				case "SETTINGS":
					settings = tok.at
				case "VALUES", "FORMAT":
					return splitInsert(st, input, tok, upper, settings)
				}
			case upper == "FORMAT":
				if inserting {
					return st, refuse(codeSyntax, "an INSERT of a SELECT takes no FORMAT")
				}
				if name, err := (&lexer{sql: input, at: tok.to}).next(); err == nil && name.kind == word {
					st.format = string(input[name.at:name.to])
				}
			}
		}
		if previous = upper; previous == "" {
			previous = raw
		}
	}
	if st.verb == "" {
		return st, refuse(codeSyntax, "Empty query")
	}
	if inserting && !selecting {
		return st, refuse(codeSyntax, "an INSERT needs VALUES, FORMAT or SELECT")
	}
	if closed < 0 {
		closed = len(input)
	}
	st.sql = string(input[:closed])
	return st, nil
}

// splitInsert ends the statement at its keyword VALUES or FORMAT. What follows is data, and no byte of it may be lost: in Native, the first byte is the
// number of columns, and 9 to 13 and 32 look like blanks. So after FORMAT X blanks of the line and one line break at most are skipped. VALUES are SQL: they
// must be here as a whole, and nothing behind them.
func splitInsert(st statement, input []byte, keyword token, upper string, settings int) (statement, error) {
	if st.verb != "INSERT" {
		return st, refuse(codeSyntax, "data must follow a plain INSERT")
	}
	ins := &insert{head: string(input[:keyword.at]), data: keyword.to}
	if settings >= 0 {
		ins.head, ins.settings = string(input[:settings]), string(input[settings:keyword.at])
	}
	if upper == "VALUES" {
		lex := lexer{sql: input, at: keyword.to}
		closed := -1
		for {
			tok, err := lex.next()
			if err != nil {
				return st, err
			}
			if tok.kind == end {
				break
			}
			if closed >= 0 && input[tok.at] != ';' {
				return st, refuse(codeSyntax, "one statement per request: there is more after the semicolon")
			}
			if closed < 0 && input[tok.at] == ';' {
				closed = tok.at
			}
		}
		if closed < 0 {
			closed = len(input)
		}
		ins.format, ins.sql, ins.to = "Values", true, closed
	} else {
		name, err := (&lexer{sql: input, at: keyword.to}).next()
		if err != nil || name.kind != word {
			return st, refuse(codeSyntax, "FORMAT needs a name")
		}
		ins.format = string(input[name.at:name.to])
		at := name.to
		for at < len(input) && (input[at] == ' ' || input[at] == '\t') {
			at++
		}
		if hasAnyPrefix(bytes.ToUpper(input[at:min(len(input), at+9)]), "SETTINGS ") {
			return st, refuse(codeSyntax, "SETTINGS must come before FORMAT")
		}
		switch rest := input[at:]; {
		case hasAnyPrefix(rest, "\r\n"):
			at += 2
		case hasAnyPrefix(rest, "\n"):
			at++
		case hasAnyPrefix(rest, ";") && len(bytes.Trim(rest, "; \t\r\n")) == 0:
			at = len(input)
		}
		ins.data = at
	}
	st.insert, st.sql = ins, ins.head
	return st, nil
}
