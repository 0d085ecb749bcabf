/** Bounds of the search: it takes a few ms at most. */
const namesMax = 2_000
const lengthMax = 64

/**
 * Returns the known name with the fewest edits from `name`, if these are at most a third of its letters (case does not
 * count). Undefined if there is none, and for names longer than 64 characters. Compares at most 2,000 names.
 */
export function nearestName(name: string, known: Iterable<string>): string | undefined {
  if (name.length > lengthMax) return undefined
  const wanted = name.toLowerCase()
  let editsMax = Math.max(1, Math.floor(wanted.length / 3))
  let nearest: string | undefined
  let seen = 0
  for (const candidate of known) {
    if (++seen > namesMax) break
    if (Math.abs(candidate.length - wanted.length) > editsMax) continue
    const edits = editDistance(wanted, candidate.toLowerCase(), editsMax)
    if (edits > editsMax) continue
    nearest = candidate
    if (edits === 0) break
    editsMax = edits - 1
  }
  return nearest
}

/** Returns `; did you mean "x"?` for the end of an error message, or an empty string. */
export function suggestion(name: string, known: Iterable<string>): string {
  const nearest = nearestName(name, known)
  return nearest === undefined ? '' : `; did you mean "${nearest}"?`
}

/**
 * Counts edits between two names; a swap of two neighbors is one edit (optimal string alignment). The count stops as
 * soon as it must exceed `editsMax`.
 */
function editDistance(a: string, b: string, editsMax: number): number {
  let beforePrevious: number[] = []
  let previous = Array.from({ length: b.length + 1 }, (_, i) => i)
  for (let i = 1; i <= a.length; i++) {
    const row = [i]
    let least = i
    for (let j = 1; j <= b.length; j++) {
      const replaced = (previous[j - 1] as number) + (a[i - 1] === b[j - 1] ? 0 : 1)
      let edits = Math.min(replaced, (previous[j] as number) + 1, (row[j - 1] as number) + 1)
      if (i > 1 && j > 1 && a[i - 1] === b[j - 2] && a[i - 2] === b[j - 1]) {
        edits = Math.min(edits, (beforePrevious[j - 2] as number) + 1)
      }
      row.push(edits)
      if (edits < least) least = edits
    }
    if (least > editsMax + 1) return least
    beforePrevious = previous
    previous = row
  }
  return previous[b.length] as number
}
