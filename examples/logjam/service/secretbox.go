package service

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/hkdf"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"strings"
)

// A secretBox encrypts the secrets in the database, so that a copy of the database
// does not reveal them. It uses AES-256-GCM with a random nonce for each secret.
type secretBox struct{ aead cipher.AEAD }

func newSecretBox(key []byte) (secretBox, error) {
	block, err := aes.NewCipher(key)
	if err != nil {
		return secretBox{}, err
	}
	aead, err := cipher.NewGCMWithRandomNonce(block)
	return secretBox{aead}, err
}

// seal encrypts a secret for one owner. It opens only for the same owner, so an
// attacker who can write to the database cannot move it to another row.
func (b secretBox) seal(secret, owner string) []byte {
	return b.aead.Seal(nil, nil, []byte(secret), []byte(owner))
}

func (b secretBox) open(sealed []byte, owner string) (string, error) {
	secret, err := b.aead.Open(nil, nil, sealed, []byte(owner))
	return string(secret), err
}

const keySize = 32

// The purposes of derived keys. Each key has only one purpose.
const (
	forStates   = "logjam: state of Fly.io's sign-on"
	forSessions = "logjam: session cookies"
)

// deriveKey derives a key for a purpose from Logjam's key, by HKDF (RFC 5869).
// Machines with the same key derive the same keys. A derived key does not reveal
// the key that it comes from.
func deriveKey(key []byte, purpose string) (string, error) {
	derived, err := hkdf.Key(sha256.New, key, nil, purpose, keySize)
	return string(derived), err
}

func parseKey(text string) ([]byte, error) {
	key, err := base64.StdEncoding.DecodeString(strings.TrimSpace(text))
	if err != nil || len(key) != keySize {
		return nil, fmt.Errorf("the key must be %d bytes in base64 (make one with: openssl rand -base64 %[1]d)", keySize)
	}
	return key, nil
}

// readKeyFile reads a key. It refuses a file that users other than its owner may
// read.
func readKeyFile(path string) ([]byte, error) {
	info, err := os.Stat(path)
	if err != nil {
		return nil, err
	}
	if runtime.GOOS != "windows" && info.Mode().Perm()&0o077 != 0 {
		return nil, fmt.Errorf("other users may read the key file; run: chmod 600 %s", path)
	}
	text, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	key, err := parseKey(string(text))
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return key, nil
}

// createKeyFile makes a new key, unless the file exists. The file appears complete
// or not at all, because half a key after a crash would lose every secret.
func createKeyFile(path string) error {
	key := make([]byte, keySize)
	rand.Read(key)

	temp, err := os.CreateTemp(filepath.Dir(path), filepath.Base(path)+".*") // with mode 0600
	if err != nil {
		return err
	}
	defer os.Remove(temp.Name())
	_, err = fmt.Fprintln(temp, base64.StdEncoding.EncodeToString(key))
	if err := errors.Join(err, temp.Sync(), temp.Close()); err != nil {
		return err
	}
	if err := os.Link(temp.Name(), path); err != nil && !errors.Is(err, fs.ErrExist) {
		return err
	}
	return syncDir(filepath.Dir(path))
}

// syncDir makes the directory entry of a new file durable.
func syncDir(path string) error {
	if runtime.GOOS == "windows" {
		return nil // Windows has no such call, and needs none
	}
	dir, err := os.Open(path)
	if err != nil {
		return err
	}
	return errors.Join(dir.Sync(), dir.Close())
}
