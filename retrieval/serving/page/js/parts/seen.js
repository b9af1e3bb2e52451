// Which cards of a list were seen, by the usual measure of an impression: half of a card in view for a second.

import { byId } from "../dom.js";

const HALF = 0.5, SECOND = 1000;
const covered = (bar) => (getComputedStyle(bar).position === "sticky" ? bar.offsetHeight : 0); // what a bar hides of the list

/** Call `onSeen` once with the place of each card, from 0, when it was seen; gives what ends the watch. */
export function watchSeen(cards, onSeen) {
  const timers = new Map();
  const isHidden = () => document.hidden || document.querySelector("dialog[open]") !== null;
  const wait = (card) => timers.set(card, setTimeout(() => {
    if (isHidden()) return wait(card);
    observer.unobserve(card);
    return onSeen(cards.indexOf(card));
  }, SECOND));
  const observer = new IntersectionObserver((entries) => {
    for (const { target, intersectionRatio } of entries) {
      clearTimeout(timers.get(target));
      if (intersectionRatio >= HALF) wait(target);
    }
  }, { threshold: HALF, rootMargin: `-${covered(document.querySelector(".top"))}px 0px -${covered(byId("health"))}px 0px` });
  for (const card of cards) observer.observe(card);
  return () => {
    observer.disconnect();
    for (const timer of timers.values()) clearTimeout(timer);
  };
}
