package main

import (
	"runtime/debug"
	"testing"
)

func TestThriftEnds(t *testing.T) { //nolint:paralleltest // it is about the whole process
	usual := debug.SetGCPercent(90)
	defer debug.SetGCPercent(usual)
	end := thrift()
	if now := debug.SetGCPercent(25); now != 25 {
		t.Errorf("garbage is collected at %d percent", now)
	}
	end()
	if now := debug.SetGCPercent(90); now != 90 {
		t.Errorf("afterwards it is at %d percent", now)
	}
}
