package shell

import (
	"bytes"
	"errors"
	"sync/atomic"
	"unicode/utf8"

	prompt "github.com/c-bata/go-prompt"
)

// A tty is a terminal in raw mode on one platform.
type tty interface {
	raw() (restore func() error, err error)
	// read returns what was typed, or nothing after a short while.
	read(buf []byte) (int, error)
	size() (columns, rows int)
	write(text string)
}

var errNothing = errors.New("nothing was typed")

// wakeKey is what the console feeds the prompt to make it give up the line: a
// key that no keyboard has.
var wakeKey = []byte{0x1b, 0x5b, 0x24, 0x3b, 0x32, 0x7e}

const keyControlC, keyControlD = 3, 4

// A console is the prompt's input: it cuts what is typed into keys, keeps what
// was typed ahead of a running command, hands pasted lines over one by one, and can
// be woken from another goroutine.
//
// It stands in place of the library's own input and loop, which deadlock when
// the window is resized, and leave the terminal raw.
type console struct {
	tty     tty
	restore func() error
	pending []byte
	pasted  []string     // lines that wait for those before them to be run
	held    atomic.Bool  // a line was handed over: the rest waits for the next prompt
	say     func(string) // has something told above the prompt; may be nil
	columns int          // the width that was drawn for
	cursor  atomic.Int64 // how many columns are before the cursor, the prompt's too

	interrupted func() // called at Ctrl-C; may be nil

	wake    atomic.Bool // somebody wants the prompt to return
	woken   atomic.Bool // the prompt returned because of it
	ended   atomic.Bool // the terminal is gone
	lastKey atomic.Int32
	onKey   func() // called at each key; may be nil
}

// dropLine makes the next prompt begin with an empty line, whatever stands in it.
func (c *console) dropLine() {
	const toEnd, killAll = 5, 21 // Ctrl-E, Ctrl-U
	c.pending, c.pasted = []byte{toEnd, killAll}, nil
}

// Setup puts the terminal into raw mode for one line.
func (c *console) Setup() error {
	restore, err := c.tty.raw()
	if err != nil {
		return err
	}
	c.restore = restore
	if c.held.Swap(false) && c.entered() {
		c.offer()
	}
	c.woken.Store(false)
	c.columns = int(c.GetWinSize().Col)
	c.tty.write(pasteOn)
	return nil
}

// TearDown gives the terminal back as it was.
func (c *console) TearDown() error {
	c.tty.write(pasteOff)
	if c.restore == nil {
		return nil
	}
	return c.restore()
}

// GetWinSize never returns less than the prompt can draw in.
func (c *console) GetWinSize() *prompt.WinSize {
	columns, rows := c.tty.size()
	const least, standard = 20, 80
	if columns < least {
		columns = standard
	}
	if rows < 5 {
		rows = 24
	}
	return &prompt.WinSize{Row: uint16(min(rows, 9999)), Col: uint16(min(columns, 9999))}
}

// Read returns one key, or an error when there is none yet.
func (c *console) Read() ([]byte, error) {
	if c.held.Load() {
		return nil, errNothing
	}
	if c.wake.Swap(false) {
		c.held.Store(true)
		c.woken.Store(true)
		c.lastKey.Store(0) // nobody pressed it
		return wakeKey, nil
	}
	if len(c.pending) == 0 || !c.complete() {
		buf := make([]byte, 4096)
		n, err := c.tty.read(buf)
		c.pending = append(c.pending, buf[:n]...)
		switch {
		case err != nil:
			c.ended.Store(true)
			c.wake.Store(true)
		case n == 0 && c.resized():
			c.wake.Store(true)
		}
	}
	key := c.next()
	if len(key) == 0 {
		return nil, errNothing
	}
	c.note(key[0])
	return key, nil
}

// note does what a key brings about beside what the prompt does with it.
func (c *console) note(key byte) {
	if c.onKey != nil {
		c.onKey()
	}
	c.lastKey.Store(int32(key))
	c.held.Store(c.entered() || key == keyControlD)
	if key != keyControlC {
		return
	}
	c.drop()
	if c.interrupted != nil {
		c.interrupted()
	}
}

// entered reports whether the last key was Enter.
func (c *console) entered() bool {
	key := c.lastKey.Load()
	return key == '\r' || key == '\n'
}

// goOn takes back that a key ended the line: Ctrl-D only does in an empty one.
func (c *console) goOn() { c.held.Store(false) }

// complete reports whether a letter or a paste that has begun has also ended.
func (c *console) complete() bool {
	if bytes.HasPrefix(c.pending, pasteBegin) {
		return bytes.Contains(c.pending, pasteEnd)
	}
	return utf8.FullRune(c.pending)
}

func (c *console) take(n int) []byte {
	key := c.pending[:n:n]
	c.pending = c.pending[n:]
	return key
}

// next cuts one key off what was typed; nothing when it is not complete.
func (c *console) next() []byte {
	b := c.pending
	switch {
	case len(b) == 0:
		return nil
	case bytes.HasPrefix(b, pasteBegin):
		return c.paste()
	case b[0] == 0x1b:
		return c.escape()
	case b[0] < 0x20 || b[0] == 0x7f:
		return c.take(1)
	}
	n := 0
	for n < len(b) && b[n] >= 0x20 && b[n] != 0x7f {
		if !utf8.FullRune(b[n:]) {
			break
		}
		_, size := utf8.DecodeRune(b[n:])
		n += size
	}
	return c.take(n)
}

// escape is one key that begins with ESC: the longest one known; an unknown
// sequence is swallowed whole, so that its tail is not typed into the line.
func (c *console) escape() []byte {
	best := 0
	for _, s := range prompt.ASCIISequences {
		if len(s.ASCIICode) > best && bytes.HasPrefix(c.pending, s.ASCIICode) {
			best = len(s.ASCIICode)
		}
	}
	n, bound := withAlt(c.pending)
	switch {
	case best > 1 || bound:
		return c.take(max(best, n))
	case n > 0:
		c.take(n)
		return nil
	}
	if len(c.pending) > 2 && c.pending[1] == '[' {
		for i := 2; i < len(c.pending); i++ {
			if c.pending[i] >= 0x40 && c.pending[i] <= 0x7e {
				c.take(i + 1)
				return nil
			}
		}
	}
	return c.take(1)
}
