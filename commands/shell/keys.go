package shell

import (
	"bytes"
	"slices"

	prompt "github.com/c-bata/go-prompt"
)

// Keys with Alt, as terminals send them.
const (
	altB, altLeft  = "\x1bb", "\x1b[1;3D"
	altF, altRight = "\x1bf", "\x1b[1;3C"
	altD           = "\x1bd"
	altBackspace   = "\x1b\x7f"
)

// keys binds those of Emacs that the library leaves out.
func (s *shell) keys() []prompt.Option {
	alt := func(key string, do prompt.KeyBindFunc) prompt.ASCIICodeBind {
		return prompt.ASCIICodeBind{ASCIICode: []byte(key), Fn: do}
	}
	return []prompt.Option{
		prompt.OptionAddKeyBind(
			prompt.KeyBind{Key: prompt.ControlR, Fn: s.search.back},
			prompt.KeyBind{Key: prompt.ControlD, Fn: func(*prompt.Buffer) { s.console.goOn() }},
			prompt.KeyBind{Key: prompt.ControlLeft, Fn: wordLeft},
			prompt.KeyBind{Key: prompt.ControlRight, Fn: wordRight},
			prompt.KeyBind{Key: prompt.ControlU, Fn: s.killed},
			prompt.KeyBind{Key: prompt.ControlK, Fn: s.killed},
			prompt.KeyBind{Key: prompt.ControlW, Fn: s.killed},
			prompt.KeyBind{Key: prompt.ControlY, Fn: func(b *prompt.Buffer) { b.InsertText(s.kill, false, true) }},
		),
		prompt.OptionAddASCIICodeBind(
			alt(altB, wordLeft), alt(altLeft, wordLeft),
			alt(altF, wordRight), alt(altRight, wordRight),
			alt(altD, func(b *prompt.Buffer) {
				b.Delete(nextWord(b))
				s.killed(b)
			}),
			alt(altBackspace, func(b *prompt.Buffer) {
				b.DeleteBeforeCursor(lastWord(b))
				s.killed(b)
			}),
		),
	}
}

func wordLeft(b *prompt.Buffer)  { b.CursorLeft(lastWord(b)) }
func wordRight(b *prompt.Buffer) { b.CursorRight(nextWord(b)) }

// lastWord is how many letters lie between the beginning of the word before the cursor
// and the cursor. The library's own counts bytes.
func lastWord(b *prompt.Buffer) int {
	letters := []rune(b.Document().TextBeforeCursor())
	slices.Reverse(letters)
	return wordOf(letters)
}

// nextWord is how many lie between the cursor and the end of the word behind it.
func nextWord(b *prompt.Buffer) int { return wordOf([]rune(b.Document().TextAfterCursor())) }

// wordOf is how many letters the spaces at the beginning have, and the word behind them.
func wordOf(letters []rune) int {
	n := 0
	for n < len(letters) && letters[n] == ' ' {
		n++
	}
	for n < len(letters) && letters[n] != ' ' {
		n++
	}
	return n
}

// killed keeps what a key has just taken out at the cursor, for Ctrl-Y.
func (s *shell) killed(b *prompt.Buffer) {
	before, now := []rune(s.standing), []rune(b.Text())
	at := len([]rune(b.Document().TextBeforeCursor()))
	if n := len(before) - len(now); n > 0 && at+n <= len(before) {
		s.kill = string(before[at : at+n])
	}
}

// withAlt is how many bytes of what was typed are a key with Alt, and whether it is one
// that does something.
func withAlt(typed []byte) (n int, bound bool) {
	for _, key := range []string{altB, altLeft, altF, altRight, altD, altBackspace} {
		if bytes.HasPrefix(typed, []byte(key)) {
			return len(key), true
		}
	}
	if len(typed) > 1 && typed[0] == 0x1b && typed[1] > ' ' && typed[1] < 0x7f && typed[1] != '[' && typed[1] != 'O' {
		return len(typed[:2]), false
	}
	return 0, false
}
