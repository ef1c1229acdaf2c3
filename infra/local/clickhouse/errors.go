package clickhouse

import (
	"errors"
	"fmt"
	"net/http"
	"regexp"
	"strconv"
	"strings"

	"github.com/m7pulse/m7pulse/infra/local/chdb"
)

// The codes of ClickHouse that the endpoint itself answers with.
const (
	codeBadArguments       = 36
	codeCannotReadData     = 33
	codeNotImplemented     = 48
	codeSyntax             = 62
	codeCannotWrite        = 75
	codeUnknownSetting     = 115
	codeReadonly           = 164
	codeTooManyQueries     = 202
	codeMemoryLimit        = 241
	codeSessionNotFound    = 372
	codeSessionLocked      = 373
	codeQueryCancelled     = 394
	codeAuthentication     = 516
	codeUnknownCompression = 89
	codeUnknown            = 1002
)

// codeName is the name of a code, which clients print.
func codeName(code int) string {
	switch code {
	case codeBadArguments:
		return "BAD_ARGUMENTS"
	case codeCannotReadData:
		return "CANNOT_READ_ALL_DATA"
	case codeNotImplemented:
		return "NOT_IMPLEMENTED"
	case codeSyntax:
		return "SYNTAX_ERROR"
	case codeCannotWrite:
		return "CANNOT_WRITE_TO_FILE_DESCRIPTOR"
	case codeUnknownSetting:
		return "UNKNOWN_SETTING"
	case codeReadonly:
		return "READONLY"
	case codeTooManyQueries:
		return "TOO_MANY_SIMULTANEOUS_QUERIES"
	case codeMemoryLimit:
		return "MEMORY_LIMIT_EXCEEDED"
	case codeSessionNotFound:
		return "SESSION_NOT_FOUND"
	case codeSessionLocked:
		return "SESSION_IS_LOCKED"
	case codeQueryCancelled:
		return "QUERY_WAS_CANCELLED"
	case codeAuthentication:
		return "AUTHENTICATION_FAILED"
	case codeUnknownCompression:
		return "UNKNOWN_COMPRESSION_METHOD"
	}
	return "UNKNOWN_EXCEPTION"
}

// httpStatus is the status that ClickHouse gives a code.
func httpStatus(code int) int {
	switch code {
	case codeAuthentication, 193, 194, 195:
		return http.StatusUnauthorized
	case codeReadonly, 291, 452, 497:
		return http.StatusForbidden
	case 8, 10, 16, 46, 47, 50, 56, 60, 81, codeUnknownSetting, 344, codeSessionNotFound:
		return http.StatusNotFound
	case 6, 15, 20, 26, 27, codeCannotReadData, codeBadArguments, 38, 41, 43, 53, 57, codeSyntax, 69, 70, 72, 82, codeUnknownCompression, 117, 123, 131, 456, 457:
		return http.StatusBadRequest
	case 159:
		return http.StatusRequestTimeout
	case codeNotImplemented:
		return http.StatusNotImplemented
	case codeTooManyQueries, 473:
		return http.StatusServiceUnavailable
	}
	return http.StatusInternalServerError
}

// An exception is an error as ClickHouse sends it: a code, and a message that starts with it.
type exception struct {
	code    int
	message string
}

func (e *exception) Error() string { return e.message }

// asException gives every error a code: the engine's, or the endpoint's own.
func asException(err error) *exception {
	var known *exception
	if errors.As(err, &known) {
		return known
	}
	var engine chdb.Error
	if errors.As(err, &engine) {
		message := strings.TrimSpace(string(engine))
		if m := regexp.MustCompile(`^Code: (\d+)\.`).FindStringSubmatch(message); m != nil {
			if code, err := strconv.Atoi(m[1]); err == nil {
				return &exception{code, message}
			}
		}
	}
	return &exception{codeUnknown, fmt.Sprintf("Code: %d. DB::Exception: %v (%s)", codeUnknown, err, codeName(codeUnknown))}
}
