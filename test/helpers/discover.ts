import { existsSync } from 'node:fs'
import { readdir, readFile } from 'node:fs/promises'
import { basename, dirname, join, relative, resolve, sep } from 'node:path'

/** The content of a folder of compiled tests. */
export interface Discovered {
  /** Test files to run, as absolute paths. */
  readonly files: readonly string[]
  /** Files that call `suite` but would never run: neither named `*.test.js` nor imported by such a file. */
  readonly strays: readonly string[]
  /** Test files from deleted sources. */
  readonly stale: readonly string[]
}

/**
 * Finds the compiled test files under `root`.
 * @param filters keep only files whose path below `root` contains one of them; all if there are none
 */
export async function discover(root: string, filters: readonly string[]): Promise<Discovered> {
  const entries = await readdir(root, { recursive: true })
  const scripts = entries
    .filter((entry) => entry.endsWith('.js') && !entry.endsWith('.fixture.js'))
    .sort()
    .map((entry) => join(root, entry))
  const tests = scripts.filter((path) => path.endsWith('.test.js'))
  const stale = await filterAsync(tests, isStale)
  const files = tests.filter((path) => !stale.includes(path) && matches(relative(root, path), filters))
  const strays = filters.length > 0 ? [] : await findStrays(scripts, stale)
  return { files, strays, stale }
}

function matches(path: string, filters: readonly string[]): boolean {
  const normalized = path.split(sep).join('/')
  return filters.length === 0 || filters.some((filter) => normalized.includes(filter))
}

/** The compiler leaves its output behind after a rename; the source map names the source. */
async function isStale(path: string): Promise<boolean> {
  const mapPath = `${path}.map`
  if (!existsSync(mapPath)) return false
  const map: unknown = JSON.parse(await readFile(mapPath, 'utf8'))
  const source = (map as { sources?: string[] }).sources?.[0]
  return source !== undefined && !existsSync(resolve(dirname(path), source))
}

async function findStrays(scripts: readonly string[], stale: readonly string[]): Promise<string[]> {
  const texts = new Map<string, string>()
  for (const path of scripts) if (!stale.includes(path)) texts.set(path, await readFile(path, 'utf8'))
  const callsSuite = (text: string): boolean =>
    /import\s*\{[^}]*\bsuite\b[^}]*\}\s*from\s*['"][^'"]*suite\.js['"]/.test(text)
  const isImported = (path: string): boolean =>
    [...texts].some(([other, text]) => other !== path && text.includes(`/${basename(path)}'`))
  const isTest = (path: string): boolean => path.endsWith('.test.js')
  return [...texts].filter(([p, text]) => !isTest(p) && callsSuite(text) && !isImported(p)).map(([p]) => p)
}

async function filterAsync<T>(items: readonly T[], keep: (item: T) => Promise<boolean>): Promise<T[]> {
  const kept = await Promise.all(items.map(keep))
  return items.filter((_item, index) => kept[index])
}
