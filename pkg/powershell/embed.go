package powershell

import (
	"bytes"
	"crypto/sha256"
	"embed"
	"encoding/base64"
	"encoding/binary"
	"encoding/hex"
	"sync"
	"unicode/utf16"
)

// maxCommandLine is cmd.exe's limit, which WinRM and SSH both go through.
const maxCommandLine = 8191

//go:embed scripts/*.ps1
var scripts embed.FS

// parts are the files of the main script, in the order they are joined.
func parts() []string {
	return []string{
		"core.ps1", "native.ps1", "identity.ps1", "machine.ps1", "report.ps1", "services.ps1", "tasks.ps1", "iis.ps1",
		"look.ps1", "update.ps1", "restart.ps1", "password.ps1", "main.ps1",
	}
}

// CommandLine is the command that every call runs, on every machine. It holds
// the bootstrap and no data, so that a site can allow it by its digest.
func CommandLine() string { return commandLine() }

var commandLine = sync.OnceValue(func() string {
	line := "powershell.exe -NoLogo -NoProfile -NonInteractive -ExecutionPolicy Bypass -OutputFormat Text -EncodedCommand " +
		base64.StdEncoding.EncodeToString(utf16LE(string(withoutComments(file("bootstrap.ps1")))))
	if len(line) >= maxCommandLine {
		panic("powershell: the bootstrap does not fit into a command line")
	}
	return line
})

// CommandLineSHA256 is the digest of [CommandLine] in lower-case hex: what a
// site lists to allow the command and nothing else.
func CommandLineSHA256() string {
	sum := sha256.Sum256([]byte(CommandLine()))
	return hex.EncodeToString(sum[:])
}

// Script is the main script: what travels in the first segment of a frame.
func Script() []byte { return bytes.Clone(mainScript()) }

// mainScript is the same without a copy, joined once: it is read for every call.
var mainScript = sync.OnceValue(func() []byte { return joined(parts()) })

// Library is the main script without the part that runs: functions for another
// script of ours, which travels in the same frame.
func Library() []byte {
	all := parts()
	return joined(all[:len(all)-1])
}

// joined leaves out what is there for people who read the files: comment lines,
// empty lines and indentation. Every call carries the script, and within one
// request's worth of input it costs one request.
func joined(names []string) []byte {
	var b bytes.Buffer
	for _, name := range names {
		for line := range bytes.Lines(file(name)) {
			if line = bytes.TrimLeft(line, " \t"); len(bytes.TrimSpace(line)) > 0 && line[0] != '#' {
				b.Write(line)
			}
		}
	}
	return b.Bytes()
}

func file(name string) []byte {
	b, err := scripts.ReadFile("scripts/" + name)
	if err != nil {
		panic("powershell: " + err.Error())
	}
	return bytes.ReplaceAll(b, []byte("\r\n"), []byte("\n"))
}

// withoutComments drops whole-line comments, which would only make the command
// line longer.
func withoutComments(script []byte) []byte {
	var kept [][]byte
	for line := range bytes.Lines(script) {
		if !bytes.HasPrefix(line, []byte("#")) {
			kept = append(kept, line)
		}
	}
	return bytes.TrimSpace(bytes.Join(kept, nil))
}

func utf16LE(s string) []byte {
	units := utf16.Encode([]rune(s))
	b := make([]byte, 0, 2*len(units))
	for _, u := range units {
		b = binary.LittleEndian.AppendUint16(b, u)
	}
	return b
}
