import { open, readdir, readFile } from 'node:fs/promises'
import { join } from 'node:path'
import type { Random } from '../../helpers/random.js'

const sectorBytes = 512

/** Kinds of files, each with its folders and the pattern of its names. */
const classes: Readonly<Record<string, readonly [folders: readonly string[], pattern: RegExp]>> = {
  'journal write-ahead file': [['shard-0/journal'], /\.log$/],
  'journal table': [['shard-0/journal'], /\.ldb$/],
  'journal manifest': [['shard-0/journal'], /^MANIFEST/],
  'journal CURRENT': [['shard-0/journal'], /^CURRENT$/],
  'state write-ahead file': [['shard-0/state', 'shard-0/state-copy'], /\.log$/],
  'state table': [['shard-0/state', 'shard-0/state-copy'], /\.ldb$/],
  'state manifest': [['shard-0/state', 'shard-0/state-copy'], /^(?:MANIFEST|CURRENT)/],
  marker: [['.'], /^MILLRACE$/],
}

export const fileClasses = Object.keys(classes)

export interface Flip {
  readonly fileClass: string
  /** A change and its place: enough to repeat it. */
  readonly text: string
}

/** Damages a random place of a random file of this class; undefined if the folder has no such non-empty file. */
export async function flipSomewhere(dir: string, fileClass: string, rng: Random): Promise<Flip | undefined> {
  const [folders, pattern] = classes[fileClass] as [readonly string[], RegExp]
  const files: string[] = []
  for (const folder of folders)
    for (const name of (await readdir(join(dir, folder))).sort())
      if (pattern.test(name)) files.push(join(folder, name))
  const contents = await Promise.all(
    files.map(async (file) => ({ file, bytes: await readFile(join(dir, file)) })),
  )
  const candidates = contents.filter(({ bytes }) => bytes.length > 0)
  if (candidates.length === 0) return undefined
  const { file, bytes } = rng.pick(candidates)
  const { at, changed, what } = damage(bytes, rng)
  const handle = await open(join(dir, file), 'r+')
  try {
    await handle.write(changed, 0, changed.length, at)
  } finally {
    await handle.close()
  }
  return { fileClass, text: `${file}: ${what} at byte ${at} of ${bytes.length}` }
}

function damage(bytes: Buffer, rng: Random): { at: number; changed: Buffer; what: string } {
  const at = rng.int(0, bytes.length - 1)
  const kind = rng.float()
  if (kind < 0.1) {
    const from = at - (at % sectorBytes)
    const length = Math.min(sectorBytes, bytes.length - from)
    return { at: from, changed: Buffer.alloc(length), what: `${length} bytes zeroed` }
  }
  const mask = kind < 0.2 ? rng.int(1, 255) : 1 << rng.int(0, 7)
  return { at, changed: Buffer.of((bytes[at] as number) ^ mask), what: `xor ${mask}` }
}
