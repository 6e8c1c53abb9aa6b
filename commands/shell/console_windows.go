package shell

import (
	"os"

	prompt "github.com/c-bata/go-prompt"
)

// windowsTTY is the library's console input; pastes arrive as typed keys there.
type windowsTTY struct {
	parser prompt.ConsoleParser
	out    *os.File
}

func newConsole(_, out *os.File) *console {
	return &console{tty: &windowsTTY{prompt.NewStandardInputParser(), out}}
}

func (t *windowsTTY) raw() (func() error, error) {
	return t.parser.TearDown, t.parser.Setup()
}

func (t *windowsTTY) read(buf []byte) (int, error) {
	key, err := t.parser.Read()
	if err != nil || (len(key) == 1 && key[0] == 0) {
		return 0, nil //nolint:nilerr // the library's error is "nothing typed yet"
	}
	return copy(buf, key), nil
}

func (t *windowsTTY) size() (columns, rows int) {
	w := t.parser.GetWinSize()
	return int(w.Col), int(w.Row)
}

func (t *windowsTTY) write(text string) { _, _ = t.out.WriteString(text) }
