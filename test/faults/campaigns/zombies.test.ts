import { testShortCampaign } from '../short_campaign.js'
import { zombies } from './zombies.js'

testShortCampaign(zombies)
