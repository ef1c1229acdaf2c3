package kafka

import (
	"errors"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/m7pulse/m7pulse/shared/event"
)

// class is what an error of Kafka, or of its client, asks of a drain. The client
// tries again by itself what it can; what it returns ends a session, and the
// class says what is to follow.
//
//	retriable  a broker, a coordinator or the network is away; authorization too,
//	           which somebody may grant meanwhile. A new session, after a pause.
//	abortable  the transaction cannot be committed, its producer can go on. A new
//	           session, which reads from the offsets that are committed.
//	rejoin     the group has taken this member out: its session expired, or a
//	           rebalance went on without it. A new session joins again.
//	fenced     another process has taken this one's name, or the broker has ended
//	           a transaction that took longer than its timeout: both come with
//	           the same errors. A new session would fence that process in turn, so
//	           it waits until the group has no other member of the name, or for an
//	           event.
//	fatal      the broker refuses a setting of ours: no new session will do.
//
// Sources: the error codes in Kafka's protocol, and what franz-go documents of
// GroupTransactSession.End, Client.EndTransaction and ErrGroupSession.
type class int

const (
	retriable class = iota
	abortable
	rejoin
	fenced
	fatal
)

// classOf finds the class of an error. What is in no list is retriable: a pause
// harms nobody.
func classOf(err error) class {
	for c, errs := range map[class][]error{
		fatal: {
			kerr.InvalidGroupID, kerr.InvalidSessionTimeout, kerr.InvalidTransactionTimeout, kerr.InvalidRequiredAcks,
			kerr.UnsupportedSaslMechanism, kerr.UnsupportedVersion, kerr.UnsupportedForMessageFormat, kerr.UnsupportedCompressionType,
		},
		fenced: {kerr.FencedInstanceID, kerr.ProducerFenced, kerr.InvalidProducerEpoch},
		rejoin: {
			kerr.UnknownMemberID, kerr.IllegalGeneration, kerr.RebalanceInProgress, kerr.MemberIDRequired,
			kerr.StaleMemberEpoch, kerr.FencedMemberEpoch, kerr.GroupIDNotFound,
		},
		abortable: {
			kerr.TransactionAbortable, kerr.InvalidTxnState, kerr.InvalidProducerIDMapping, kerr.UnknownProducerID,
			kerr.OutOfOrderSequenceNumber, kerr.ConcurrentTransactions, kerr.OperationNotAttempted,
		},
	} {
		for _, e := range errs {
			if errors.Is(err, e) {
				return c
			}
		}
	}
	return retriable
}

// ofRecord says whether an error is the fault of one record, or of what follows
// from it: it comes again whenever that record does.
func ofRecord(err error) bool {
	for _, e := range []error{kerr.MessageTooLarge, kerr.RecordListTooLarge, kerr.InvalidRecord, kerr.InvalidTimestamp, event.ErrInvalid} {
		if errors.Is(err, e) {
			return true
		}
	}
	return false
}

// tooSlow says whether a block failed because its records were not written in
// their time.
func tooSlow(err error) bool { return errors.Is(err, kgo.ErrRecordTimeout) }
