#!/bin/sh
# Learns from the log of live events, once: commonspace-learn BUNDLE DUMPS
#   BUNDLE               the folder of the bundle, which it changes
#   DUMPS                the folder that gets a dump of the log, and keeps those of 30 days
#   COMMONSPACE_EVENTS   the database of live events; its events of the last 365 days stay
set -eu
bundle=$1
dumps=$2
mkdir -p "$dumps"
commonspace events dump "$dumps/events-$(date -u +%Y-%m-%dT%H%M%S)"
find "$dumps" -mindepth 1 -maxdepth 1 -type d -name 'events-*' -mtime +30 -exec rm -r {} +
commonspace events retain --days 365
commonspace fit "$bundle" --refresh
