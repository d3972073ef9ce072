package nginx

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/google/renameio/v2"
)

// customFile is the operator's own part of the configuration, at the level of
// the server. It is taken at Start and Reload, and only then: nginx.conf includes
// a copy, named after what is in it, so that a file that somebody edits has no
// part in a move of traffic.
const customFile = "custom.conf"

// custom says which copy a configuration includes; empty is none.
type custom string

// takeCustom copies what the operator's file says now.
func (s *Server) takeCustom() (custom, error) {
	text, err := os.ReadFile(s.path(customFile))
	if errors.Is(err, fs.ErrNotExist) {
		return "", nil
	}
	if err != nil {
		return "", fmt.Errorf("nginx: %w", err)
	}
	copied := custom(filepath.Join("custom", short(text)+".conf"))
	if err := os.MkdirAll(s.path("custom"), 0o700); err != nil {
		return "", fmt.Errorf("nginx: %w", err)
	}
	if err := renameio.WriteFile(s.path(string(copied)), text, 0o600, renameio.WithTempDir(s.path("custom"))); err != nil {
		return "", fmt.Errorf("nginx: copy %s: %w", customFile, err)
	}
	return copied, nil
}

// customInForce is the copy that nginx.conf includes.
func (s *Server) customInForce() (custom, error) {
	text, err := os.ReadFile(s.path("nginx.conf"))
	if errors.Is(err, fs.ErrNotExist) {
		return "", nil
	}
	if err != nil {
		return "", fmt.Errorf("nginx: %w", err)
	}
	for line := range bytes.Lines(text) {
		if name, found := bytes.CutPrefix(bytes.TrimSpace(line), []byte(customMark)); found {
			return custom(bytes.TrimSpace(name)), nil
		}
	}
	return "", nil
}

// customMark begins the comment in nginx.conf that names the copy.
const customMark = "# custom: "

// sweepCustom removes the copies that nginx.conf does not include.
func (s *Server) sweepCustom() error {
	keep, err := s.customInForce()
	if err != nil {
		return err
	}
	copies, err := os.ReadDir(s.path("custom"))
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	for _, c := range copies {
		if name := filepath.Join("custom", c.Name()); name != string(keep) {
			err = errors.Join(err, os.Remove(s.path(name)))
		}
	}
	if err != nil {
		return fmt.Errorf("nginx: remove copies of %s: %w", customFile, err)
	}
	return nil
}

// inOwnWords puts the name of the operator's file in the place of the copy's.
func (s *Server) inOwnWords(message string) string {
	copies, err := os.ReadDir(s.path("custom"))
	if err != nil {
		return message
	}
	for _, c := range copies {
		message = strings.ReplaceAll(message, s.path(filepath.Join("custom", c.Name())), s.path(customFile))
	}
	return message
}

// reloadInForce is Reload without a look at the operator's file.
func (s *Server) reloadInForce(ctx context.Context) error {
	own, err := s.customInForce()
	if err != nil {
		return err
	}
	return s.reloadWith(ctx, own)
}
