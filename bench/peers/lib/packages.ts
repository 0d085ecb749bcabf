import { readFile } from 'node:fs/promises'
import { fileURLToPath } from 'node:url'

/** The version of an installed package, also of one that doesn't export its package.json. @throws Error when it isn't there */
export async function packageVersion(name: string): Promise<string> {
  const entry = fileURLToPath(import.meta.resolve(name))
  const folder = `node_modules/${name}/`
  const root = entry.slice(0, entry.lastIndexOf(folder) + folder.length)
  const { version } = JSON.parse(await readFile(`${root}package.json`, 'utf8')) as { version: string }
  return version
}
