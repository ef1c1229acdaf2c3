package clickhouse

import (
	"bytes"
	"fmt"
	"strings"
)

// A kind is what a token is.
type kind int

const (
	end         kind = iota
	word             // a keyword, a bare identifier, a number
	quotedName       // `name` or "name"
	text             // 'text' or $$text$$
	punctuation      // one byte
)

// A token is a piece of a statement: sql[at:to].
type token struct {
	kind   kind
	at, to int
}

// A lexer cuts a statement into tokens as the engine does. Where the two could differ, it refuses, or takes less for quoted than the engine might: a
// semicolon that it wrongly sees is an error message, one that it overlooks is a second statement that runs.
type lexer struct {
	sql []byte
	at  int
}

func (l *lexer) next() (token, error) {
	if err := l.skipBlanks(); err != nil {
		return token{}, err
	}
	from := l.at
	if from == len(l.sql) {
		return token{kind: end, at: from, to: from}, nil
	}
	switch c := l.sql[from]; {
	case c == '\'':
		return l.quoted(text)
	case c == '"' || c == '`':
		return l.quoted(quotedName)
	case c == '$' && l.heredoc():
		return token{text, from, l.at}, nil
	case isWord(c):
		for l.at < len(l.sql) && isWord(l.sql[l.at]) {
			l.at++
		}
		return token{word, from, l.at}, nil
	case c == '\\' || c == 0:
		return token{}, refuse(codeSyntax, "unexpected %q outside of quotes", c)
	case bytes.HasPrefix(l.sql[from:], []byte("\u2018")) || bytes.HasPrefix(l.sql[from:], []byte("\u201c")):
		return token{}, refuse(codeSyntax, "typographic quotes are not accepted: use ' or \"")
	default:
		l.at++
		return token{punctuation, from, l.at}, nil
	}
}

// skipBlanks goes on to the next token. The engine nests /* */, and knows -- // #! and "# " up to the end of the line.
func (l *lexer) skipBlanks() error {
	for l.at < len(l.sql) {
		rest := l.sql[l.at:]
		switch {
		case bytes.IndexByte([]byte(" \t\r\n\v\f"), rest[0]) >= 0:
			l.at++
		case hasAnyPrefix(rest, "--", "//", "#!", "# "):
			length := bytes.IndexByte(rest, '\n')
			if length < 0 {
				length = len(rest)
			}
			l.at += length
		case hasAnyPrefix(rest, "/*"):
			l.at += 2
			for depth := 1; depth > 0; {
				rest := l.sql[l.at:]
				switch {
				case hasAnyPrefix(rest, "/*"):
					depth++
					l.at += 2
				case hasAnyPrefix(rest, "*/"):
					depth--
					l.at += 2
				case len(rest) == 0:
					return refuse(codeSyntax, "a comment is not closed")
				default:
					l.at++
				}
			}
		default:
			return nil
		}
	}
	return nil
}

// quoted reads up to the closing quote; a backslash quotes any byte, and a doubled quote reads as two tokens, which is as good here.
func (l *lexer) quoted(k kind) (token, error) {
	from, quote := l.at, l.sql[l.at]
	for l.at++; l.at < len(l.sql); l.at++ {
		switch l.sql[l.at] {
		case '\\':
			l.at++
		case quote:
			l.at++
			return token{k, from, l.at}, nil
		}
	}
	return token{}, refuse(codeSyntax, "a quote is not closed: %c", quote)
}

// heredoc reads $tag$ text $tag$ where there is one.
func (l *lexer) heredoc() bool {
	rest := l.sql[l.at:]
	length := bytes.IndexByte(rest[1:], '$')
	if length < 0 || bytes.ContainsFunc(rest[1:1+length], func(r rune) bool { return r > 0x7f || !isWord(byte(r)) }) {
		return false
	}
	tag := rest[:length+2]
	closing := bytes.Index(rest[len(tag):], tag)
	if closing < 0 {
		return false
	}
	l.at += len(tag) + closing + len(tag)
	return true
}

func isWord(c byte) bool {
	return c == '_' || c == '$' || '0' <= c && c <= '9' || 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z'
}

func hasAnyPrefix(b []byte, prefixes ...string) bool {
	for _, p := range prefixes {
		if len(b) >= len(p) && string(b[:len(p)]) == p {
			return true
		}
	}
	return false
}

// quoteText writes a string as an SQL literal.
func quoteText(s string) string {
	return "'" + strings.NewReplacer(`\`, `\\`, `'`, `\'`, "\x00", `\0`).Replace(s) + "'"
}

// quoteName writes a string as an SQL identifier.
func quoteName(s string) string {
	return "`" + strings.NewReplacer(`\`, `\\`, "`", "\\`", "\x00", `\0`).Replace(s) + "`"
}

// refuse is an error in the engine's own form.
func refuse(code int, format string, args ...any) error {
	return &exception{code: code, message: fmt.Sprintf("Code: %d. DB::Exception: %s (%s)", code, fmt.Sprintf(format, args...), codeName(code))}
}
