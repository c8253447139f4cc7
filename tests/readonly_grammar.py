"""Commands made up by chance, of real programs and flags, for plan mode's judge: about half of them pass.

They are made of the tables' flags and of those that write, run or send; of quoting, substitutions, lists,
loops and redirections; and of the names in `PLAYGROUND`, where files are called as flags are.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Sequence

from pi_v_jupyter.plan.rules import Rule, rules


def choices(text: str) -> list[str]:
    """The parts of `text` that two blanks or a line's end are between."""
    return [choice for line in text.strip().splitlines() for choice in line.split("  ")]


# Where they run. Its last lines are what a repository would like git to start.
PLAYGROUND = r"""
mkdir -p src 'a b' && cd . || exit
seq 1 40 > numbers; printf 'one two\nthree four\n' > words; cp words a; cp words b.txt; cp words src/main.py
printf '{"a": [1, {"b": "x"}]}\n' > a.json; printf '#!/bin/sh\ntouch TRACE\n' > program; chmod +x program
for name in -o -delete --output=TRACE -i -exec --pre=./program -ofile=TRACE; do cp words "./$name"; done
tar -cf a.tar words numbers; gzip -k numbers; cp words 'a b/c d'; ln -sf words link
if command -v git >/dev/null; then
  git init -q . && git config user.name a && git config user.email a@b && git add words src a.json
  git commit -qm first; git tag v1; echo more >> words; git config core.fsmonitor ./program
  git config core.pager ./program; git config alias.status '!./program'; git config core.hooksPath .
fi
"""
NOT_RUN = frozenset({"sleep", "pip", "pip3"})  # for they take their time
FILES = choices(
    r"""
words  numbers  a  b.txt  a.json  src  .  src/main.py  'a b/c d'  link  -  /etc/passwd  *  ./*  *.txt
src/*  "$x"  $x  ./$x  "./$x"  "$(echo words)"  $(echo words)  -- words  <(echo a)  ~  {words,numbers}
none  TRACE  -o  '-delete'  HEAD  v1  main  /dev/null
"""
)
VALUES = ("1", "words", "TRACE", "5", "a", "'%s'", '"$x"', "1,2", ":", "./program", "")
WRITING = choices(
    r"""
-o TRACE  --output=TRACE  -i  --in-place  -delete  -exec ./program ';'  -fprint TRACE  -w TRACE
--compress-program=./program  --pre=./program  -C  -s  -f TRACE  -x ./program  -T .  -r  -R  --ext-diff
--textconv  -O./program  -c core.pager=./program  -D TRACE  -F TRACE  -b  -a TRACE
"""
)
WRITERS = choices(
    r"""
touch TRACE  rm words  ./program  tee TRACE  sh program  mkdir TRACE  chmod 0 words  dd of=TRACE
python3 -c 'open("TRACE", "w")'  cp words TRACE  truncate -s0 words  ln -s a TRACE  eval ./program
unlink words  mv a TRACE  perl -e 'unlink "words"'  env touch TRACE  xargs rm  ping -c1 10.9.8.7
echo a > /dev/udp/10.9.8.7/9  cat < /dev/tcp/10.9.8.7/9  curl 10.9.8.7  getent hosts a.example
"""
)
SED = choices(
    r"""
p  1,3p  $p  s/o/0/g  /one/d  s/one/two/p  w TRACE  s/one/x/w TRACE  1e touch TRACE  y/ab/cd/
s/.*/touch TRACE/e  N;P;D  /one/{p;w TRACE  $!d  5q  s|o|/|  /t/w TRACE  =  /[/]/p  a text
"""
)
AWK = choices(
    r"""
{print}  NR>1  {print $2}  {print > "TRACE"}  BEGIN{system("./program")}  /one/  {n+=$1} END{print n}
{print | "./program"}  BEGIN{"./program" | getline}  {print ($1 > "TRACE")}  length > 3  !/a/  /[/]/
BEGIN{if (1) /"/; print "x" > "TRACE" } # "  {gsub(/o/, 0)} 1  {a[$1]++} END{for (k in a) print k}
"""
)
FIND = choices(
    r"""
-name '*.py'  -type f  -maxdepth 1  -print  -print0  -ls  -empty  -newer a  ! -name a  -size +1k  -delete
-exec ./program {} ';'  -exec ./program {} +  -fprint TRACE  -fls TRACE  -ok ./program ';'  -name *
-name "$x"  -printf '%p\n'  -o -name b  -prune  $x  "$x"  -mtime -1  -perm -u+w
"""
)
CONDITIONS = choices(
    r"""
[ -f words ]  [ "$x" = a ]  [ $x ]  [[ -n $x && -d src ]]  test -e TRACE  [[ a -eq 1 ]]  [ 1 -lt 2 ]
[ -v 'a[$(./program)]' ]  [[ -v 'a[$(./program)]' ]]  [[ $x =~ ^a ]]  test ! -d words  [[ 2 -gt 1 ]]
"""
)
FORMATS = choices(
    r"""
'%s\n' a  '%d %s' 1 b  "$x"  '%n' x  '%5s|' "$x"  -v x a  '%%'  'a\n'
"""
)
EXPANSIONS = choices(
    r"""
$x  "$x"  ${x}  ${x:-a}  ${#x}  ${x%a}  $((1+2))  $(./program)  `touch TRACE`  ${x:=a}  $?  $(echo a)
"$(ls)"  $((a[$(./program)]))  ${!x}  ${x@P}  $'\x2d'  {a,b}  ~  a\ b  "it's"
"""
)
REDIRECTIONS = choices(
    r"""
2>/dev/null  >/dev/null  2>&1  < words  <<< text  &>/dev/null  < "./words"  2>&-  > TRACE  >> words
2> TRACE  >| TRACE  <> TRACE  &> TRACE  >& TRACE  {fd}> TRACE  < "$x"
"""
)


def together(some: Sequence[str]) -> str:
    """One command that runs each of `some` in a subshell: starting bash takes longer than most of them."""
    return "\n".join(f"(\n{command}\n)" for command in some)


def commands(seed: int, programs: Sequence[str] | None = None) -> Iterator[str]:
    """Commands without end, the same ones for the same `seed`; of `programs` only, if any are given."""
    return _Grammar(random.Random(seed), programs).run()


class _Grammar:
    def __init__(self, chance: random.Random, programs: Sequence[str] | None) -> None:
        self.chance = chance
        self.rules = {
            name: rule
            for name, rule in rules().items()
            if name not in NOT_RUN and (not programs or name in programs)
        }
        self.names = sorted(self.rules)
        self.special: dict[str, Callable[[], str]] = {
            "sed": lambda: (
                f"sed {self.some(['-n', '-E', '-s', '-i', '-f a'])} {self.script(SED)} {self.files()}"
            ),
            "awk": lambda: f"awk {self.some(['-F:', '-v n=1', '-f a'])} {self.script(AWK)} {self.files()}",
            "find": lambda: f"find {self.pick(['.', 'src', 'words', '$x', ''])} {self.several(FIND)}",
            "printf": lambda: f"printf {self.pick(FORMATS)}",
            "test": lambda: self.pick(CONDITIONS),
            "[": lambda: self.pick(CONDITIONS),
            "xargs": lambda: f"ls | xargs {self.some(['-0', '-n 1', '-I{}', '-t'])} {self.program(1)}",
            "timeout": lambda: f"timeout {self.some(['-s KILL'])} 2 {self.program(1)}",
            "read": lambda: (
                f"read {self.some(['-r', '-a'])} {self.pick(['line', 'a b', 'PATH', 'a[0]'])} < words"
            ),
        }

    def run(self) -> Iterator[str]:
        while True:
            yield self.statement()

    def pick(self, choices: Sequence[str]) -> str:
        return self.chance.choice(choices)

    def some(self, choices: Sequence[str]) -> str:
        return self.pick(choices) if self.chance.random() < 0.4 else ""

    def several(self, choices: Sequence[str]) -> str:
        return " ".join(self.pick(choices) for _ in range(self.chance.choice([0, 1, 1, 2])))

    def script(self, scripts: Sequence[str]) -> str:
        return f"'{self.pick(scripts)}'"

    def files(self) -> str:
        return self.several(FILES)

    def statement(self) -> str:
        one, dice = self.simple(), self.chance.random()
        if dice < 0.6:
            return one
        other = self.simple()
        return self.pick(
            [
                f"{one} | {other}",
                f"{one} && {other}",
                f"{one}; {other}",
                f"{one} || {other}",
                f"{one}\n{other}",
                f"( {one} )",
                f"{{ {one}; }}",
                f"! {one}",
                f"if {one}; then {other}; fi",
                f"for x in a words; do {one}; done",
                f"x=words; {one}",
                f'echo "$({one})" | {other}',
                f"{one} &",
                f"while read -r x; do {one}; done < words",
                f"case a in a) {one} ;; esac",
            ]
        )

    def simple(self) -> str:
        dice = self.chance.random()
        command = self.pick(WRITERS) if dice < 0.06 else self.program(0)
        if self.chance.random() < 0.3:
            command += f" {self.pick(REDIRECTIONS)}"
        if self.chance.random() < 0.04:
            command = f"{self.pick(['LC_ALL=C', 'PATH=.', 'a=1', 'TZ=UTC', 'PAGER=./program'])} {command}"
        return command

    def program(self, depth: int) -> str:
        name = self.pick(self.names)
        if name in self.special and not depth:
            return self.special[name]()
        return self.quoted(name) + self.arguments(self.rules[name])

    def quoted(self, name: str) -> str:
        dice = self.chance.random()
        if dice < 0.9 or not name.isalpha():
            return name
        return self.pick([f'"{name}"', f"\\{name}", f"{name[0]}''{name[1:]}", f"$'{name}'"])

    def arguments(self, rule: Rule) -> str:
        words = []
        flags = sorted(rule.flags)
        for _ in range(self.chance.choice([0, 1, 1, 2])):
            if flags:
                flag = self.pick(flags)
                equals = "=" if flag.startswith("--") else " "
                words.append(f"{flag}{equals}{self.pick(VALUES)}" if rule.flags[flag] == "=" else flag)
        if rule.subs and self.chance.random() < 0.95:
            sub = self.pick(sorted(rule.subs))
            return f" {' '.join(words)} {sub}{self.arguments(rule.subs[sub])}"
        if rule.runs is not None:
            return f" {' '.join(words)} {'2 ' * rule.runs}{self.program(1)}"
        dice = self.chance.random()
        if dice < 0.15:
            words.append(self.pick(WRITING if dice < 0.1 or not rule.refused else sorted(rule.refused)))
        words.append(self.pick(EXPANSIONS) if self.chance.random() < 0.1 else self.files())
        return " " + " ".join(word for word in words if word)
