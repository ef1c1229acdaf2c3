package repo

import (
	"strconv"
	"time"

	"github.com/cespare/xxhash/v2"
)

// Checksum is the xxHash64 of the observation's identity and of every counter,
// in the text form that AppendChecksumText defines. Sums of it (modulo 2⁶⁴) do
// not depend on order, so two stores with the same rows have the same sum.
func (o *Observation) Checksum() uint64 {
	return xxhash.Sum64(o.AppendChecksumText(make([]byte, 0, 256)))
}

// AppendChecksumText appends what Checksum hashes: fields separated by '|',
// times in ms since 1970, an unobserved field as '-'. ClickHouse computes the
// same text from its columns, so the order here is part of the contract.
func (o *Observation) AppendChecksumText(b []byte) []byte {
	b = strconv.AppendInt(b, o.ID, 10)
	b = append(b, '|')
	b = strconv.AppendInt(b, o.ObservedAt.UnixMilli(), 10)
	b = append(b, '|')
	b = append(b, o.NameWithOwner...)
	b = appendText(b, o.Company)
	b = appendText(b, o.PrimaryLanguage)
	b = appendTime(b, o.PushedAt)
	b = appendTime(b, o.CreatedAt)
	for _, c := range o.Counters() {
		b = AppendChecksumInt(b, c.Value)
	}
	b = append(b, '|')
	b = append(b, o.Source...)
	return b
}

// AppendChecksumInt appends one nullable number to a checksum text.
func AppendChecksumInt(b []byte, v *int64) []byte {
	b = append(b, '|')
	if v == nil {
		return append(b, '-')
	}
	return strconv.AppendInt(b, *v, 10)
}

func appendText(b []byte, v *string) []byte {
	b = append(b, '|')
	if v == nil {
		return append(b, '-')
	}
	return append(b, *v...)
}

func appendTime(b []byte, v *time.Time) []byte {
	if v == nil {
		return AppendChecksumInt(b, nil)
	}
	ms := v.UnixMilli()
	return AppendChecksumInt(b, &ms)
}
