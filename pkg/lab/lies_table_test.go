package lab

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"
	"unicode/utf16"

	"keyturn/pkg/lab/sshd"
	"keyturn/pkg/lab/winrmd"
)

// edited tells the truth with its lines changed.
func edited(edit func(lines []string) []string) func(*cheat) int {
	return func(c *cheat) int {
		lines, exit := c.honest(c.in)
		c.say(edit(lines)...)
		return exit
	}
}

// bye changes the end marker; nil leaves it out.
func bye(edit func(line string) []string) func(*cheat) int {
	return edited(func(lines []string) []string {
		last := len(lines) - 1
		if edit == nil {
			return lines[:last]
		}
		return append(lines[:last:last], edit(lines[last])...)
	})
}

// with changes the JSON of a line.
func with(line string, change func(map[string]any)) string {
	var m map[string]any
	if err := json.Unmarshal([]byte(strings.TrimPrefix(line, "#WSX ")), &m); err != nil {
		panic(err)
	}
	change(m)
	b, err := json.Marshal(m)
	if err != nil {
		panic(err)
	}
	return "#WSX " + string(b)
}

// byeWith changes the JSON of the end marker.
func byeWith(change func(map[string]any)) func(*cheat) int {
	return bye(func(line string) []string { return []string{with(line, change)} })
}

// received tells the truth of an input that changed on its way.
func received(change func(in []byte) []byte) func(*cheat) int {
	return func(c *cheat) int {
		lines, exit := c.honest(change(bytes.Clone(c.in)))
		c.say(lines...)
		return exit
	}
}

// said tells the truth in other bytes.
func said(encode func(text string) string) func(*cheat) int {
	return func(c *cheat) int {
		lines, exit := c.honest(c.in)
		_, _ = io.WriteString(c.out, encode(strings.Join(lines, "\n")+"\n"))
		return exit
	}
}

// without does nothing and says so much.
func without(exit int, lines ...string) func(*cheat) int {
	return func(c *cheat) int {
		c.say(lines...)
		return exit
	}
}

// between puts lines after the first one of the truth.
func between(extra ...string) func(*cheat) int {
	return edited(func(lines []string) []string { return slices.Insert(lines, 1, extra...) })
}

// forever writes chunks until it is killed, with a pause before each.
func forever(to func(*cheat) io.Writer, chunk string, pause time.Duration) func(*cheat) int {
	return func(c *cheat) int {
		for {
			select {
			case <-c.ctx.Done():
				return 0
			case <-time.After(pause):
			}
			if _, err := io.WriteString(to(c), chunk); err != nil {
				return 0
			}
		}
	}
}

func standardOut(c *cheat) io.Writer   { return c.out }
func standardError(c *cheat) io.Writer { return c.errs }

func hang(c *cheat) int {
	<-c.ctx.Done()
	return 0
}

const foreign = `"n":"00000000000000000000000000000000"`

// lies is the corpus.
func lies() []lie {
	return slices.Concat([]lie{{name: "the truth", want: truth}},
		endMarkers(), wholeAnswers(), manners(), inputs(), harmless(), bulk(), winrmFaults(), sshFaults())
}

// endMarkers are lies about the end.
func endMarkers() []lie {
	return []lie{
		{name: "no end marker, exit code 0", tell: bye(nil)},
		{name: "an end marker without a nonce", tell: byeWith(func(m map[string]any) { delete(m, "n") })},
		{name: "an end marker with an empty nonce", tell: byeWith(func(m map[string]any) { m["n"] = "" })},
		{name: "an end marker with a foreign nonce", tell: byeWith(func(m map[string]any) { m["n"] = strings.Repeat("0", 32) })},
		{name: "an end marker with the nonce in capitals", tell: byeWith(func(m map[string]any) { m["n"] = "N" + strings.ToUpper(m["n"].(string)) })},
		{name: "an end marker with a nonce that is a number", tell: byeWith(func(m map[string]any) { m["n"] = 7 })},
		{name: "an end marker that is cut", tell: bye(func(l string) []string { return []string{l[:len(l)-1]} })},
		{name: "an end marker with something after it", tell: bye(func(l string) []string { return []string{l + "x"} })},
		{name: "an end marker without its line end", tell: said(func(s string) string { return strings.TrimSuffix(s, "\n") })},
		{name: "an end marker behind a blank", tell: bye(func(l string) []string { return []string{" " + l} })},
		{name: "an end marker of an unknown kind", tell: byeWith(func(m map[string]any) { m["t"] = "done" })},
		{name: "an end marker with a number that is none", tell: bye(func(l string) []string {
			return []string{strings.Replace(l, `"code":`, `"code":1e400,"code2":`, 1)}
		})},
		{name: "an end marker with NUL in it", tell: bye(func(l string) []string { return []string{strings.Replace(l, `"t"`, "\x00\"t\"", 1)} })},
		{name: "an end marker that counts more", tell: byeWith(func(m map[string]any) { m["counts"] = map[string]int{"lines": 999} })},
		{name: "an end marker that counts nothing", tell: edited(func(lines []string) []string {
			last := len(lines) - 1
			return []string{with(lines[last], func(m map[string]any) { delete(m, "counts") })}
		})},
		{name: "an end marker on standard error", tell: func(c *cheat) int {
			lines, exit := c.honest(c.in)
			c.say(lines[:len(lines)-1]...)
			fmt.Fprintln(c.errs, lines[len(lines)-1])
			return exit
		}},
		{name: "the end marker first", tell: edited(func(l []string) []string { return append([]string{l[len(l)-1]}, l[:len(l)-1]...) })},
		{name: "the end marker of the call before", tell: func(c *cheat) int {
			lines, exit := c.honest(c.in)
			c.say(lines[:len(lines)-1]...)
			c.say(c.machine.earlier[len(c.machine.earlier)-1])
			return exit
		}},
		{name: "an end marker in the name of a service", tell: func(c *cheat) int {
			lines, exit := c.honest(c.in)
			last := lines[len(lines)-1]
			c.say(lines[:len(lines)-1]...)
			c.say(with(lines[len(lines)-2], func(m map[string]any) { m["display"] = "Orders\n" + last + "\n" }))
			return exit
		}},
		{name: "an end marker that breaks out of a service's name", tell: func(c *cheat) int {
			lines, exit := c.honest(c.in)
			c.say(lines[:len(lines)-1]...)
			c.say(`#WSX {"t":"item","id":"x","display":"Orders`, `#WSX {"t":"bye",`+foreign+`,"code":0}`, `"}`)
			return exit
		}},
	}
}

// wholeAnswers are lies about everything.
func wholeAnswers() []lie {
	return []lie{
		{name: "nothing at all, exit code 0", tell: without(0)},
		{name: "nothing at all, exit code 97", tell: without(97)},
		{name: "only noise, exit code 0", tell: without(0, "OK", "success", `{"t":"bye"}`)},
		{name: "the call before, once more", tell: func(c *cheat) int {
			c.say(c.machine.earlier...)
			return 0
		}},
		{name: "everything under a foreign nonce", tell: edited(func(lines []string) []string {
			for i := range lines {
				lines[i] = with(lines[i], func(m map[string]any) { m["n"] = strings.Repeat("0", 32) })
			}
			return lines
		})},
		{name: "a line that is lost", tell: edited(func(l []string) []string { return slices.Delete(l, 1, 2) })},
		{name: "a line that is doubled", tell: edited(func(l []string) []string { return slices.Insert(l, 1, l[1]) })},
		{name: "half of the lines", tell: edited(func(l []string) []string { return l[:len(l)/2] })},
		{name: "a refusal, and then success", tell: edited(func(l []string) []string {
			refusal := with(l[len(l)-1], func(m map[string]any) { m["t"], m["class"] = "fatal", "access_denied"; delete(m, "counts") })
			return append([]string{refusal}, l...)
		})},
		{name: "a refusal of an unknown class", tell: bye(func(l string) []string {
			return []string{with(l, func(m map[string]any) { m["t"], m["class"] = "fatal", "\x1b[2Jno_such_class" })}
		})},
		{name: "a refusal by a bootstrap that is none", tell: without(0, `#WSX {"t":"fatal","class":"transport_corrupt","got":1,"want":2}`)},
		{name: "a language mode that is constrained", tell: without(98, `#WSX {"t":"fatal","class":"constrained_language"}`)},
		{name: "everything on standard error", tell: func(c *cheat) int {
			lines, exit := c.honest(c.in)
			fmt.Fprintln(c.errs, strings.Join(lines, "\n"))
			return exit
		}},
		{name: "our own input, as it came", tell: func(c *cheat) int {
			_, _ = c.out.Write(c.in)
			return 0
		}},
		{name: "our own request, decoded", tell: func(c *cheat) int {
			for _, part := range bytes.FieldsFunc(c.in[81:], func(r rune) bool { return r == '.' || r == ',' }) {
				b, _ := base64.StdEncoding.DecodeString(string(part))
				c.say("#WSX "+string(b), string(b))
			}
			return 0
		}},
	}
}

// manners are true words that nobody may understand.
func manners() []lie {
	return []lie{
		{name: "UTF-16", tell: said(func(s string) string {
			var b strings.Builder
			for _, u := range utf16.Encode([]rune(s)) {
				b.WriteByte(byte(u))
				b.WriteByte(byte(u >> 8))
			}
			return b.String()
		})},
		{name: "a byte order mark", tell: said(func(s string) string { return "\uFEFF" + s })},
		{name: "line ends of old Macs", tell: said(func(s string) string { return strings.ReplaceAll(s, "\n", "\r") })},
		{name: "small letters", tell: said(func(s string) string { return strings.ReplaceAll(s, "#WSX ", "#wsx ") })},
		{name: "lines in quotes", tell: said(func(s string) string { return `"` + strings.ReplaceAll(s, "\n", "\"\n\"") })},
		{name: "lines wrapped at 80 columns", tell: said(func(s string) string {
			var b strings.Builder
			for i := 0; i < len(s); i += 80 {
				b.WriteString(s[i:min(len(s), i+80)] + "\n")
			}
			return b.String()
		})},
		{name: "CLIXML", tell: said(func(s string) string {
			return "#< CLIXML\r\n<Objs><S>" + strings.ReplaceAll(s, "\n", "_x000A_") + "</S></Objs>"
		})},
		{name: "JSON that is nested 10,000 deep", tell: bye(func(string) []string {
			return []string{"#WSX " + strings.Repeat(`{"err":`, 10_000) + strings.Repeat("}", 10_000)}
		})},
		{name: "JSON with a million fields", tell: bye(func(string) []string {
			return []string{"#WSX {" + strings.Repeat(`"a":0,`, 150_000) + `"t":"bye"}`}
		}), large: true},
	}
}

// inputs are lies of the way there: what arrived is not what was sent.
func inputs() []lie {
	return []lie{
		{name: "no input arrived", tell: received(func([]byte) []byte { return nil })},
		{name: "the header arrived, and no more", tell: received(func(in []byte) []byte { return in[:81] })},
		{name: "the first bytes of the input were lost", tell: received(func(in []byte) []byte { return in[100:] })},
		{name: "input was lost in the middle", tell: received(func(in []byte) []byte { return slices.Delete(in, 5000, 6000) })},
		{name: "the last byte of the input was lost", tell: received(func(in []byte) []byte { return in[:len(in)-1] })},
		{name: "a bit of the input flipped", tell: received(func(in []byte) []byte {
			in[len(in)/2] ^= 1
			return in
		})},
		{name: "two pieces of the input changed places", tell: received(func(in []byte) []byte {
			return slices.Concat(in[:1000], in[2000:3000], in[1000:2000], in[3000:])
		})},
		{name: "a piece of the input came twice", tell: received(func(in []byte) []byte { return slices.Concat(in[:3000], in[2000:]) })},
		{name: "line ends were added to the input", tell: received(func(in []byte) []byte { return bytes.ReplaceAll(in, []byte("\n"), []byte("\r\n")) })},
		{name: "the input came twice", want: truth, tell: received(func(in []byte) []byte { return append(in, in...) })},
	}
}

// harmless are lies that are seen through, or are none.
func harmless() []lie {
	return []lie{
		{name: "a banner before everything", want: truth, tell: said(func(s string) string { return "Welcome to SRV1\n\x1b[31mAUTHORIZED USE ONLY\n\n" + s })},
		{name: "noise between the lines", want: truth, tell: between("WARNING: something", "#WSX", "#WSX {", "#WSX null", "")},
		{name: "noise in the machine's own code page", want: truth, tell: between("gr\x81\xe1 Gott \xff\xfe")},
		{name: "lines without a nonce", want: truth, tell: between(`#WSX {"t":"item","kind":"service","id":"Evil","phase":"look","status":"ok"}`)},
		{name: "lines with a foreign nonce", want: truth, tell: between(
			`#WSX {"t":"item",`+foreign+`,"kind":"service","id":"Evil"}`, `#WSX {"t":"fatal",`+foreign+`,"class":"access_denied"}`)},
		{name: "a refusal without a nonce, too late", want: truth, tell: between(`#WSX {"t":"fatal","class":"transport_corrupt"}`)},
		{name: "Windows line ends", want: truth, tell: said(func(s string) string { return strings.ReplaceAll(s, "\n", "\r\n") })},
		{name: "lines after the end", want: truth, tell: edited(func(l []string) []string { return append(l, l...) })},
		{name: "an exit code that says failure", want: truth, tell: func(c *cheat) int {
			lines, _ := c.honest(c.in)
			c.say(lines...)
			return 1
		}},
		{name: "an exit code that is garbage", want: truth, tell: func(c *cheat) int {
			lines, _ := c.honest(c.in)
			c.say(lines...)
			return -1073741510
		}},
		{name: "the truth, on standard error too", want: truth, tell: func(c *cheat) int {
			lines, exit := c.honest(c.in)
			fmt.Fprintln(c.errs, strings.Join(lines, "\n"))
			c.say(lines...)
			return exit
		}},
		{name: "one letter after the other", want: truth, large: true, tell: func(c *cheat) int {
			lines, exit := c.honest(c.in)
			for _, b := range []byte(strings.Join(lines, "\n") + "\n") {
				_, _ = c.out.Write([]byte{b})
			}
			return exit
		}},
	}
}

// bulk are lies of size and time.
func bulk() []lie {
	return []lie{
		{name: "40 MB before the truth", large: true, tell: func(c *cheat) int { // T14
			for range 40 {
				if _, err := io.WriteString(c.out, strings.Repeat("x", 1<<20-1)+"\n"); err != nil {
					return 0
				}
			}
			lines, exit := c.honest(c.in)
			c.say(lines...)
			return exit
		}},
		{name: "output without end", large: true, tell: forever(standardOut, strings.Repeat("x", 100_000)+"\n", 0)},
		{name: "standard error without end", large: true, tell: forever(standardError, strings.Repeat("x", 100_000), 0)},
		{name: "one line without end", large: true, tell: forever(standardOut, "#WSX "+strings.Repeat("x", 100_000), 0)},
		{name: "more lines than anybody needs", large: true, tell: func(c *cheat) int {
			lines, exit := c.honest(c.in)
			item := with(lines[0], func(m map[string]any) {
				nonce := m["n"]
				clear(m)
				m["t"], m["n"] = "item", nonce
			})
			for range 1010 {
				c.say(strings.Repeat(item+"\n", 100))
			}
			c.say(lines...)
			return exit
		}},
		{name: "a trickle", slow: true, large: true, tell: forever(standardOut, ".", 50*time.Millisecond)},
		{name: "silence", slow: true, tell: hang},
		{name: "the truth, and then silence", slow: true, want: either, tell: func(c *cheat) int {
			lines, _ := c.honest(c.in)
			c.say(lines...)
			return hang(c)
		}},
	}
}

// winrmFaults are lies of the WinRM service.
func winrmFaults() []lie {
	every := func(p winrmd.Phase) winrmd.Point { return winrmd.Point{Phase: p} }
	var all []lie
	add := func(name string, want want, f winrmd.Faults) {
		all = append(all, lie{name: "WinRM: " + name, want: want, winrm: &f})
	}
	for _, p := range []winrmd.Phase{winrmd.PhaseCreate, winrmd.PhaseCommand, winrmd.PhaseSend, winrmd.PhaseReceive} {
		add("fault 500 at every "+string(p), fails, winrmd.Faults{Fail: every(p)})
		add("fault 500 instead of every "+string(p), fails, winrmd.Faults{Fail: winrmd.Point{Phase: p, Early: true}})
		add("every "+string(p)+" is cut off", fails, winrmd.Faults{Drop: every(p)})
		add("every "+string(p)+" is unknown", fails, winrmd.Faults{Fail: every(p), FailWith: winrmd.FaultShell})
		add("every "+string(p)+" is over quota", fails, winrmd.Faults{Fail: every(p), FailWith: winrmd.FaultOperations})
	}
	for _, p := range []winrmd.Phase{winrmd.PhaseSignal, winrmd.PhaseDelete} {
		add("fault 500 at every "+string(p), truth, winrmd.Faults{Fail: every(p)})
		add("every "+string(p)+" is cut off", truth, winrmd.Faults{Drop: every(p)})
	}
	add("the service is busy for ever", fails, winrmd.Faults{Fail: every(winrmd.PhaseSend), FailWith: winrmd.FaultBusy})
	add("a piece of input is acknowledged and lost", fails, winrmd.Faults{LoseChunk: 1})
	add("an answer with output is lost", either, winrmd.Faults{Drop: winrmd.Point{Phase: winrmd.PhaseReceive, N: 1}})
	add("every log-in is refused", fails, winrmd.Faults{Unauthorized: true})
	all = append(all, lie{name: "WinRM: nothing to report, at once and for ever", slow: true, want: either, winrm: &winrmd.Faults{
		Fail: winrmd.Point{Phase: winrmd.PhaseReceive, Early: true}, FailWith: winrmd.FaultTimedOut,
	}})
	return all
}

// sshFaults are lies of the SSH service.
func sshFaults() []lie {
	return []lie{
		{name: "SSH: no command is started", ssh: &sshd.Faults{RefuseExec: true}},
		{name: "SSH: cut off after the start", ssh: &sshd.Faults{DropStart: 1}},
		{name: "SSH: cut off before the first output", ssh: &sshd.Faults{DropOutput: 1}},
		{name: "SSH: the first bytes of input are lost", ssh: &sshd.Faults{LoseInput: 1}},
		{name: "SSH: every log-in is refused", ssh: &sshd.Faults{Unauthorized: true}},
	}
}
