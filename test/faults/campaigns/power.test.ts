import { testShortCampaign } from '../short_campaign.js'
import { power } from './power.js'

testShortCampaign(power)
