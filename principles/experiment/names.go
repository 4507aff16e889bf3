package experiment

import (
	"crypto/rand"
	"math/big"
	"strconv"
	"strings"
)

// The words of random names; a name is one of each and a number, e.g. "calm-heron-412".
const (
	adjectives = "able amber bold brave bright brisk calm candid clear clever cosy crisp daring dapper deft eager " +
		"early fair famous fleet fond frank gentle glad golden grand hardy honest humble jolly keen kind lively " +
		"loyal lucid lucky mellow merry mild modest neat nimble noble patient placid polite proud quick quiet " +
		"rare ready robust serene silent silver sincere sleek smart spry steady stoic sunny swift tidy tranquil " +
		"trusty upbeat vivid warm wise witty"
	nouns = "ant badger bat bear beaver bee bison boar bug calf carp cat colt crab crane crow deer doe dog dove duck " +
		"eagle eel elk falcon finch fish fly fowl fox frog gnat goat goose grouse gull hare hawk hen heron hog " +
		"horse hound jay kite koi lamb lark loon lynx mare midge mink mole moose moth mouse mule newt otter owl " +
		"ox panda perch pig quail ram rat raven robin rook seal shad shark sheep shrew shrike skink snail snipe " +
		"sow sparrow squid stag steed stoat stork swan tern toad trout turtle vole wasp whale wolf worm wren"
)

// randomName makes up a name for what has none.
func randomName() string {
	return pick(adjectives) + "-" + pick(nouns) + "-" + strconv.FormatInt(below(1000), 10)
}

func pick(words string) string {
	all := strings.Fields(words)
	return all[below(int64(len(all)))]
}

// below is a random number from 0 up to and without n.
func below(n int64) int64 {
	// crypto/rand's reader never fails.
	number, _ := rand.Int(rand.Reader, big.NewInt(n))
	return number.Int64()
}
