package main

import (
	"os"
	"runtime"
	"runtime/debug"
	"runtime/metrics"
)

const (
	largestSmall = 32 << 10 // the largest object that shares pages with others
	goPage       = 8 << 10  // what the runtime calls a page
	cachedPages  = 128      // twice as many as a processor keeps for itself
)

// forget overwrites garbage. The runtime leaves what an object held in the place that
// it had, so that a password that was shown stays there as text until another object
// gets the place: here one does. It takes some 20 ms. A stack that was left for a
// larger one may keep a copy all the same.
func forget() {
	// On one processor, so that no other one keeps places for itself.
	defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(1))
	overwriteStack()
	runtime.GC()         // what waits in pools is garbage after two
	debug.FreeOSMemory() // whole pages go back to the system, which empties them
	rest := debug.SetGCPercent(-1)
	for size := 8; size <= largestSmall; size += max(8, size/32&^7) { // meets every size of places
		fill(func() { filler.plain = make([]byte, size) }, size)
		fill(func() { filler.pointers = make([]*byte, size/8) }, size) // what has pointers has places of its own
	}
	for range cachedPages {
		filler.plain = make([]byte, goPage)
	}
	filler.plain, filler.pointers = nil, nil
	debug.SetGCPercent(rest)
	debug.FreeOSMemory()
}

// filler keeps objects from being made on the stack.
var filler struct {
	plain    []byte
	pointers []*byte
}

// fill makes objects of one size until the heap has grown twice for them: then no
// place of that size is left that was free before.
func fill(one func(), size int) {
	heap := []metrics.Sample{{Name: "/memory/classes/heap/objects:bytes"}, {Name: "/memory/classes/heap/unused:bytes"}}
	inUse := func() uint64 {
		metrics.Read(heap)
		return heap[0].Value.Uint64() + heap[1].Value.Uint64()
	}
	for last, grown := inUse(), 0; grown < 2; {
		for range max(1, 2048/size) {
			one()
		}
		if now := inUse(); now > last {
			last, grown = now, grown+1
		}
	}
}

// overwriteStack overwrites what calls that are over left on the stack.
//
//go:noinline
func overwriteStack() byte {
	var b [64 << 10]byte
	for i := range b {
		b[i] = byte(i >> 8)
	}
	return b[len(os.Args)]
}
