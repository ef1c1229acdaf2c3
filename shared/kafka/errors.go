package kafka

import (
	"errors"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/m7pulse/m7pulse/shared/event"
)

// class is how a drain reacts to an error of Kafka or its client. The client itself
// retries what it can; an error that it returns ends the session.
//
//	retriable  a broker, a coordinator or the network is down, or a permission is
//	           missing, which may be granted meanwhile. A new session, after a pause.
//	abortable  the transaction cannot be committed, but its producer can go on. A
//	           new session, from the committed offsets.
//	rejoin     the group has removed this member: its session expired, or a
//	           rebalance completed without it. A new session joins again.
//	fenced     another process has taken this one's name, or the broker has aborted
//	           a transaction that took longer than its timeout: the errors are the
//	           same. A new session would fence that process in turn, so the next
//	           one waits until the group has no other member of the name, or for an
//	           event.
//	fatal      the broker rejects one of our settings: a new session cannot help.
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

// classOf returns the class of an error. One that is not listed is retriable.
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

// causedByRecord reports whether an error is caused by one record or its output: it
// occurs again whenever that record is processed.
func causedByRecord(err error) bool {
	for _, e := range []error{kerr.MessageTooLarge, kerr.RecordListTooLarge, kerr.InvalidRecord, kerr.InvalidTimestamp, event.ErrInvalid} {
		if errors.Is(err, e) {
			return true
		}
	}
	return false
}

// timedOut reports whether a block failed because its output was not written before
// the delivery timeout.
func timedOut(err error) bool { return errors.Is(err, kgo.ErrRecordTimeout) }
