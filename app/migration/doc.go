// Package migration walks a live service from an old database to a new one in
// eight steps, so that no acknowledged write is lost, forked or hidden, while
// two versions of the service at neighbouring steps write at the same time.
//
// The fence, one row in the old database, decides which database is primary;
// the step decides what an instance may do ([Decide] is the whole table). What
// is newer is decided by the pair (rev, epoch), never by presence or by time.
//
// It moves every collection of one declaration under the one fence, knows of a
// record no more than its id, its body and its place in the order, and does no
// I/O but through the two stores.
package migration
