// Package pam holds the words of the product: records, accounts, machines,
// mappings, dependencies, credentials, plans and jobs, and the errors that exit
// codes tell apart.
//
// It does no I/O and knows no transport, no store and no command line. All
// types are plain values; none is safe for concurrent writes.
package pam
