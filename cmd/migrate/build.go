package main

import (
	"crypto/sha256"
	"debug/elf"
	"encoding/hex"
	"fmt"
	"io"
	"os"
)

// buildID tells one build of the program from another. Go's own build id
// does, where the executable's format keeps it; else the file's hash.
func buildID(path string) (string, error) {
	h := sha256.New()
	if f, err := elf.Open(path); err == nil {
		defer f.Close()
		if note := f.Section(".note.go.buildid"); note != nil {
			if b, err := note.Data(); err == nil {
				h.Write(b)
				return short(h.Sum(nil)), nil
			}
		}
	}
	f, err := os.Open(path)
	if err != nil {
		return "", fmt.Errorf("read the program's file: %w", err)
	}
	defer f.Close()
	if _, err := io.Copy(h, f); err != nil {
		return "", fmt.Errorf("read the program's file: %w", err)
	}
	return short(h.Sum(nil)), nil
}

func short(sum []byte) string { return hex.EncodeToString(sum[:6]) }
