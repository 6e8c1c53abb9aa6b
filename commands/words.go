package commands

import (
	"strings"
	"unicode"
)

// A Word is one word of a command line.
type Word struct {
	Text       string
	Start, End int  // byte offsets in the line, quotes included
	Open       rune // the quote that is not closed at the end of the line, or 0
}

// Split splits a command line into words the way its writer meant it. White
// space separates words. Within 'single' or "double" quotes everything is kept,
// inner double spaces too; the quote itself is written twice there. A backslash
// is a character like any other: CORP\svc_sql is an account, C:\ a folder.
//
// A word that is # ends the line: what follows is a comment. A quote that is not
// closed, control characters other than a tab, and the words with which other
// shells join commands or send their output elsewhere are ErrUsage.
func Split(line string) ([]string, error) {
	if i := strings.IndexFunc(line, func(r rune) bool { return unicode.IsControl(r) && r != '\t' }); i >= 0 {
		return nil, usagef("the command line holds a control character at position %d", i+1)
	}
	words := []string{}
	for _, w := range Words(line) {
		raw := line[w.Start:w.End] // a quoted word is none of these
		if raw == comment {
			break
		}
		if why := foreignSign(raw); why != "" {
			return nil, usagef("%s is a word of other shells: %s; nothing was run", raw, why).
				WithHint(`--output FILE writes a result to a file; your own shell has pipes for "keyturn COMMAND"; `+
					`in quotes, "%s" is a word like any other`, raw)
		}
		if w.Open != 0 {
			return nil, usagef("the quote %c that begins in word %d is not closed", w.Open, len(words)+1).
				WithHint("a quote inside a word is written in the other kind of quotes: \"O'Brien\"")
		}
		words = append(words, w.Text)
	}
	return words, nil
}

// comment begins a line, or stands alone within one, that nobody runs from there on.
const comment = "#"

// foreignSign says what is wrong with a word that other shells understand; "" is nothing.
// Only a word of its own, without quotes, is one: password=a|b is a value.
func foreignSign(word string) string {
	switch word {
	case "|":
		return "there are no pipes here"
	case ">", ">>":
		return "nothing is redirected here"
	case "&&", ";":
		return "a line is one command here"
	}
	return ""
}

// Words splits like [Split] but never fails, for completion: the last word may
// have an open quote. A line that ends in white space has no last empty word.
func Words(line string) []Word {
	var words []Word
	for i := 0; i < len(line); {
		if isSpace(line[i]) {
			i++
			continue
		}
		w := scanWord(line, i)
		words = append(words, w)
		i = w.End
	}
	return words
}

func scanWord(line string, start int) Word {
	var text strings.Builder
	i := start
	for i < len(line) && !isSpace(line[i]) {
		if line[i] != '\'' && line[i] != '"' {
			text.WriteByte(line[i])
			i++
			continue
		}
		quote := line[i]
		inner, end, closed := scanQuoted(line, i)
		text.WriteString(inner)
		i = end
		if !closed {
			return Word{Text: text.String(), Start: start, End: i, Open: rune(quote)}
		}
	}
	return Word{Text: text.String(), Start: start, End: i}
}

// scanQuoted reads what is between the quote at start and the next single one.
func scanQuoted(line string, start int) (inner string, end int, closed bool) {
	quote := line[start : start+1]
	var text strings.Builder
	i := start + 1
	for i < len(line) {
		switch rest := line[i:]; {
		case strings.HasPrefix(rest, quote+quote):
			text.WriteString(quote)
			i += 2
		case strings.HasPrefix(rest, quote):
			return text.String(), i + 1, true
		default:
			text.WriteByte(line[i])
			i++
		}
	}
	return text.String(), i, false
}

func isSpace(c byte) bool { return c == ' ' || c == '\t' }

// Quote writes s as one word that [Split] reads back as s.
func Quote(s string) string {
	switch {
	case s == "":
		return `""`
	case !strings.ContainsAny(s, " \t'\"") && s != comment && foreignSign(s) == "":
		return s
	case !strings.Contains(s, `"`):
		return `"` + s + `"`
	case !strings.Contains(s, `'`):
		return `'` + s + `'`
	default:
		return `"` + strings.ReplaceAll(s, `"`, `""`) + `"`
	}
}

// Program is how hints and documentation begin a command, which are written for the
// command line of another shell.
const Program = "keyturn"

// SplitLine splits a line of the shell or of a batch: nil for blank lines and
// comments. mayFail is set for a line that starts with "@".
func SplitLine(line string) (words []string, mayFail bool, err error) {
	line = strings.TrimSpace(line)
	if line == "" || strings.HasPrefix(line, comment) {
		return nil, false, nil
	}
	line, mayFail = strings.CutPrefix(line, "@")
	words, err = Split(line)
	if err == nil && len(words) == 0 {
		err = usagef("there is no command after @")
	}
	if len(words) > 1 && words[0] == Program {
		words = words[1:]
	}
	return words, mayFail, err
}

// Continued cuts the lonely backslash at the end of a line that goes on in the next
// one. That of a path, like C:\, is part of its word, and a comment goes nowhere.
func Continued(line string) (head string, goesOn bool) {
	head, goesOn = strings.CutSuffix(strings.TrimRight(line, " \t\r"), `\`)
	if !goesOn || head != "" && !isSpace(head[len(head)-1]) || strings.HasPrefix(strings.TrimSpace(head), comment) {
		return line, false
	}
	return head, true
}
