//go:build unix && !linux

package main

// undumpable has no counterpart here.
func undumpable() {}
