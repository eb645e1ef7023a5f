changed=

say() { changed=yes; echo "$*"; }
fail() { echo "$0: $*" >&2; exit 1; }
path() { echo "/proc/sys/$(printf %s "$1" | tr ./ /.)"; }

keep() { # FILE TEXT: a crash leaves the old file or the new one
  printf '%s' "$2" >"$STATE/$1.partial"
  mv "$STATE/$1.partial" "$STATE/$1"
}

ours() { ip -o link show dev "$1" 2>/dev/null | grep -q " group $MARK "; }
holds() { ip -o address show dev "$2" to "$1" 2>/dev/null | grep -q .; }
opened() { ip fou show 2>/dev/null | sed 's/ *$//' | grep -q -x -e "port $1 gue${2:+ $2}"; }

free_link() {
  ! ip link show dev "$1" >/dev/null 2>&1 || fail "another program made a link $1 on this machine; remove it there first"
}
free_address() {
  [ -z "$(ip -o address show to "$1")" ] || fail "$1 is on this machine and not ours"
}
free_gue() {
  ! opened "$@" || fail "another program opened UDP port $1 for GUE on this machine; close it there first"
}

uplinks() { # links on which others may ask by ARP for an address that is anywhere on this machine
  ip -d -o link show | while read -r _ link flags rest; do
    link=${link%:} link=${link%%@*}
    case $link,$flags in gretap0,* | erspan0,* | *LOOPBACK* | *NOARP*) continue ;; esac
    case $rest in # a port of a bridge or bond is not asked itself; into a container, only with a network on it
      *"group $MARK "*) continue ;;
      *" master "*) case $rest in *vrf_slave*) ;; *) continue ;; esac ;;
    esac
    case $rest in
      *' link-netns'*'\    veth '* | *' link-netns'*'\    netkit '* | *'\    tun '*) has_network "$link" || continue ;;
    esac
    echo "$link"
  done | sort
}

has_network() { ip -o -4 address show dev "$1" | grep -q -v '/32 '; }

each() { # BEFORE AFTER: the names of a setting of every uplink
  uplinks | while read -r link; do echo "$1$(printf %s "$link" | tr . /)$2"; done
}

recorded() { # "name":"value",... of the settings as they were before
  [ -e "$STATE/record.json" ] || return 0
  # printf ends the line, which the file does not
  printf '%s\n' "$(sed -n 's/.*"sysctls":{\([^}]*\)}.*/\1/p' "$STATE/record.json")"
}

claim() { # write down what is about to be made, before it is made
  mkdir -p "$STATE"
  if [ ! -e "$STATE/addresses.json" ]; then
    free
  elif [ "$(cat "$STATE/addresses.json")" != "$WANTED" ]; then
    fail "this machine was set up with other settings; remove those first, with what set them up"
  fi
  list=$(recorded)
  for name in $(settings); do
    case $list in
      *"\"$name\":"*) ;;
      *) list="$list${list:+,}\"$name\":\"$(cat "$(path "$name")")\"" ;;
    esac
  done
  keep record.json "$RECORD_BEGIN$list$RECORD_END"
  keep addresses.json "$WANTED"
}

add_link() { # NAME KIND [SETTING ...]
  name=$1 kind=$2
  shift 2
  if ours "$name"; then
    [ "$kind" = dummy ] || ip link change dev "$name" type "$kind" "$@"
  else
    ip link add name "$name" group "$MARK" type "$kind" "$@"
    say "add link $name ($kind${*:+ }$*)"
  fi
}

raise_link() {
  [ -z "$(ip -o link show dev "$1" up)" ] || return 0
  ip link set dev "$1" alias virtualserver up
  say "raise link $1"
}

remove_link() {
  ours "$1" || return 0
  ip link del dev "$1"
  say "remove link $1"
}

write_setting() { # NAME VALUE
  file=$(path "$1")
  if [ -e "$file" ] && [ "$(cat "$file")" != "$2" ]; then
    echo "$2" >"$file"
    say "write $1 = $2"
  fi
}

write_each() { # BEFORE AFTER VALUE
  for name in $(each "$1" "$2"); do write_setting "$name" "$3"; done
}

put_settings_back() {
  recorded | tr , '\n' | sed -n 's/^"\(.*\)":"\(.*\)"$/\1 \2/p' | while read -r name before; do
    write_setting "$name" "$before"
  done
}

jump_rules() { # HOOK CHAIN [LINK ...]: what jumps to it, from packets that come in by these links or from all
  hook=$1 chain=$2
  shift 2
  [ $# -gt 0 ] || echo "-A $hook -j $chain"
  for link in "$@"; do echo "-A $hook -i $link -j $chain"; done
}

set_rules() { # iptables|ip6tables TABLE HOOK CHAIN [LINK ...]; the rules on standard input, none: no chain
  lines=$(cat)
  wanted=$(shift 2 && jump_rules "$@" | sort)
  complaint="no $1-nft and no $1-legacy is installed"
  for program in "$1-nft" "$1-legacy"; do
    installed=$("$program-save" -t "$2" 2>/dev/null) || continue
    there=$(printf '%s\n' "$installed" | sed -n "s/^-A $4 //p")
    jumps=$(printf '%s\n' "$installed" | grep -x -e "-A $3\( -i [^ ]*\)\{0,1\} -j $4" | sort)
    if [ -n "$lines" ]; then
      [ "$there" != "$lines" ] || [ "$jumps" != "$wanted" ] || return 0
    elif ! printf '%s\n' "$installed" | grep -q "^:$4 "; then
      continue
    fi
    if complaint=$(new_rules "$2" "$3" "$4" | "$program-restore" --noflush -w 5 2>&1); then
      say "replace packet-filter rules ($program, $4)"
      return 0
    fi
  done
  [ -z "$lines" ] || fail "packet-filter rules: $complaint"
}

new_rules() { # TABLE HOOK CHAIN: replaced at once, so that there is no moment without them
  printf '*%s\n:%s - [0:0]\n' "$1" "$3"
  [ -z "$jumps" ] || printf '%s\n' "$jumps" | sed 's/^-A/-D/'
  if [ -n "$lines" ]; then
    printf '%s\n' "$lines" | sed "s/^/-A $3 /"
    printf '%s\n' "$wanted" | sed "s/^-A $2/-I $2 1/"
  else
    printf -- '-X %s\n' "$3"
  fi
  echo COMMIT
}

open_gue() { # PORT [-6]
  ! opened "$@" || return 0
  ip fou add port "$1" gue ${2:+"$2"}
  say "add GUE at UDP port $*"
}

close_gue() { # PORT [-6]
  opened "$@" || return 0
  ip fou del port "$1" ${2:+"$2"}
  say "remove GUE at UDP port $*"
}

add_address() { # ADDRESS/PREFIX LINK [FLAG]; preferred never: the machine's own connections do not begin at it
  ! holds "$1" "$2" || return 0
  ip address add "$1" dev "$2" preferred_lft 0 noprefixroute ${3:+"$3"}
  say "add address $1 on $2"
}

remove_address() { # ADDRESS/PREFIX LINK
  holds "$1" "$2" || return 0
  ip address del "$1" dev "$2"
  say "remove address $1 on $2"
}

apply() {
  claim
  set_up
  [ -n "$changed" ] || echo "nothing to do: $ABOUT set up already"
}

remove() {
  if [ ! -e "$STATE/addresses.json" ]; then
    echo "nothing to do: $ABOUT removed already"
    return
  fi
  [ "$(cat "$STATE/addresses.json")" = "$WANTED" ] ||
    fail "this machine was set up with other settings; remove them with what set them up"
  take_away
  rm -f "$STATE/addresses.json" "$STATE/record.json"
}

case ${1:-} in
  apply | remove) "$1" ;;
  *)
    echo "usage: sh $0 apply|remove" >&2
    exit 2
    ;;
esac
